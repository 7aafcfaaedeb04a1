import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import path from "node:path"
import * as Example from "../src/Example.ts"
import * as Program from "../src/Program.ts"
import { all as published, workspace } from "../src/Published.ts"

const snippetsOf = (file: string): ReadonlyArray<string> =>
  Array.from(readFileSync(path.join(workspace, file), "utf8").matchAll(/^```ts\n(.*?)^```$/gms), ([, text]) => text!)

describe("the examples, on the embedded broker", () => {
  it("are all known by what they say", () => {
    assert.sameMembers(Object.keys(Example.expectations), Example.programs.map(({ name }) => name))
  })

  it.live.each(Example.programs)(
    "$name of $package runs as it stands",
    ({ directory, name }) =>
      Effect.gen(function*() {
        const { output, problems } = yield* Program.run({
          command: [process.execPath, "--import", path.join(workspace, "packages/packaging/src/embedded.mjs"), name],
          directory
        }, Example.expectations[name]!)
        assert.deepStrictEqual(problems, [], output)
      })
  )
})

describe.each(["README.md", "packages/amqp/README.md", "packages/rpc/README.md"])("%s", (file) => {
  it("shows examples as they are run, and no other program", () => {
    const snippets = snippetsOf(file)
    assert.isAbove(snippets.length, 0)
    const known = new Set(Example.all.map(({ text }) => text))
    assert.deepStrictEqual(snippets.filter((snippet) => !known.has(snippet)), [])
  })
})

describe("AGENTS.md", () => {
  it("names every example, and none that is not there", () => {
    const page = readFileSync(path.join(workspace, "packages/amqp/AGENTS.md"), "utf8")
    const named = Array.from(page.matchAll(/\]\(examples\/([^)]+)\)/g), ([, name]) => name!)
    assert.sameMembers(named, Example.all.filter(({ package: name }) => name === "effect-amqp").map(({ name }) => name))
  })
})

describe.each(published)("the README of $manifest.name", ({ directory, manifest }) => {
  it("stands alone on npm: each of its links is absolute, or leads into itself", () => {
    const readme = readFileSync(path.join(workspace, directory, "README.md"), "utf8")
    const links = Array.from(readme.matchAll(/\]\(([^)]+)\)/g), ([, target]) => target!)
    assert.isAbove(links.length, 0, manifest.name)
    assert.deepStrictEqual(links.filter((link) => !/^(https:\/\/|#)/.test(link)), [])
  })
})
