import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Exit, ManagedRuntime, Scope } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { readdirSync, readFileSync } from "node:fs"
import path from "node:path"
import { vi } from "vitest"
import * as Compilation from "../src/Compilation.ts"
import { workspace } from "../src/Site.ts"
import type { Snippet } from "../src/Snippets.ts"
import * as Snippets from "../src/Snippets.ts"
import * as Runner from "./support/Runner.ts"

vi.mock("@effect/platform-node", async (original) => ({
  ...await original<object>(),
  NodeRuntime: { runMain: Runner.runMain }
}))

const declarations = /AmqpTopology\.(queue|exchange)\("([^"]+)"(?:,\s*(\{[^]*?\}))?\)/g
const examples = ["amqp", "rpc"].flatMap((name) => {
  const folder = path.join(workspace, "packages", name, "examples")
  return readdirSync(folder).filter((file) => !file.endsWith(".test.ts"))
    .map((file) => readFileSync(path.join(folder, file), "utf8"))
})

const all = Snippets.pageNames.flatMap(Snippets.snippetsOf)
Snippets.write(all)

const runs = (programs: ReadonlyArray<Snippet>) => {
  const runtime = ManagedRuntime.make(AmqpMemory.layer)
  const scope = Scope.makeUnsafe()
  let running: ReadonlyArray<Runner.Running> = []
  const end = () => runtime.runPromise(Scope.close(scope, Exit.void))

  beforeAll(async () => {
    running = await runtime.runPromise(Scope.provide(Runner.start(programs), scope))
  })
  afterAll(async () => {
    await end()
    await runtime.dispose()
  })

  programs.forEach(({ file, prints }, index) => {
    it(`${file} ${prints.length > 0 ? "prints what the page says" : "runs to its end"}`, () =>
      runtime.runPromise(Runner.finish(running[index]!)))
  })

  it("they end in order when they are interrupted, and leave nothing open", async () => {
    await end()
    for (const one of running) assert.isUndefined(Runner.failureOf(one), one.snippet.file)
    const leftovers = await runtime.runPromise(AmqpMemory.AmqpMemory.use((broker) => broker.leftovers))
    assert.deepStrictEqual(leftovers, [])
  })
}

describe("the programs of the site", () => {
  it("compile", async () => {
    assert.deepStrictEqual(await Compilation.compile(Snippets.folder), [])
  })

  it("agree with one another, and with the examples, on each queue and exchange, so that one broker can run all", () => {
    const declared = new Map<string, Set<string>>()
    for (const code of [...all.filter((snippet) => !Snippets.isTest(snippet)).map(({ code }) => code), ...examples]) {
      for (const [, kind, name, options = "{}"] of code.matchAll(declarations)) {
        const entity = `${kind} ${name}`
        const plain = options.replace(/\/\/.*$/gm, "").replace(/\s+/g, " ")
        declared.set(entity, (declared.get(entity) ?? new Set()).add(plain))
      }
    }
    assert.isAbove(declared.size, 40)
    // This one is about a queue that has changed.
    declared.delete("queue reports")
    assert.deepStrictEqual([...declared].filter(([, options]) => options.size > 1), [])
  })

  for (const page of Snippets.pageNames) {
    const own = all.filter((snippet) => snippet.page === page && !Snippets.isProcess(snippet))
    if (own.length === 0) continue
    describe(page, async () => {
      for (const test of own.filter(Snippets.isTest)) await import(Snippets.fileOf(test))
      const programs = own.filter((snippet) => !Snippets.isTest(snippet))
      if (programs.length > 0) runs(programs)
    })
  }
})
