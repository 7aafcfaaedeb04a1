import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Subprocess from "effect-amqp-test-rig/Subprocess"
import * as Published from "../src/Published.ts"

const root = Published.manifestOf(Published.workspace)

describe("the manifest of", () => {
  it.each(Published.all)("$manifest.name says who made it, where it lives and where to complain", (published) => {
    const { directory, manifest } = published
    const home = root.homepage!.replace("#readme", "")
    assert.strictEqual(manifest.license, root.license)
    assert.strictEqual(manifest.author, root.author)
    assert.strictEqual(manifest.homepage, `${home}/tree/main/${directory}#readme`)
    assert.deepStrictEqual(manifest.repository, { ...root.repository!, directory })
    assert.deepStrictEqual(manifest.bugs, root.bugs)
    assert.includeMembers([...manifest.keywords!], ["effect", "rabbitmq", "amqp"])
    assert.isAbove(manifest.description!.length, 20)
  })

  it.each(Published.all)(
    "$manifest.name is published in public, with provenance, and shows what it shows here",
    ({ manifest }) => {
      const { publishConfig } = manifest
      assert.isTrue(publishConfig?.provenance)
      assert.strictEqual(publishConfig?.access, "public")
      const built = Object.fromEntries(
        Object.entries(manifest.exports!).map(([name, target]) => [
          name,
          target?.replace("./src/", "./dist/").replace(/\.ts$/, ".js") ?? null
        ])
      )
      assert.deepStrictEqual(publishConfig?.exports, built)
      assert.strictEqual(manifest.scripts!["prepack"], "node ../packaging/src/prepack.mjs")
    }
  )

  it("every package has the same version of Node", () => {
    assert.lengthOf([...new Set(Published.all.map(({ manifest }) => manifest.engines!.node))], 1)
  })
})

// In the foreground, because what a script says is kept back by npm 9 when it is silent.
const flags = ["--dry-run", "--silent", "--foreground-scripts"]

describe("npm in the folder of a package", () => {
  for (const { folder, manifest } of Published.all) {
    for (const args of [["pack", ...flags], ["publish", ...flags]]) {
      it.live(`npm ${args[0]} refuses ${manifest.name}, and says what to run instead`, () =>
        Effect.gen(function*() {
          const answer = yield* Effect.result(
            Subprocess.run({ program: "npm", args }, { directory: folder })
          )
          assert.strictEqual(answer._tag, "Failure")
          if (answer._tag === "Failure") {
            assert.include(answer.failure.message, `${manifest.name} is not packed by npm`)
            assert.include(answer.failure.message, "npx pnpm@12 pack")
          }
        }))
    }
  }
})
