import { assert, describe, it } from "@effect/vitest"
import { build } from "esbuild"

/** The files of amqplib and its adapter that a program reads which imports these modules and nothing else. */
const loadedBy = async (...modules: ReadonlyArray<string>): Promise<ReadonlyArray<string>> => {
  const { metafile } = await build({
    stdin: {
      contents: modules.map((module) => `export * from ${JSON.stringify(module)}`).join("\n"),
      resolveDir: import.meta.dirname
    },
    bundle: true,
    format: "esm",
    platform: "node",
    metafile: true,
    write: false
  })
  return Object.keys(metafile.inputs).filter((input) => /amqplib/i.test(input))
}

describe("a program loads amqplib only if it connects", () => {
  for (
    const module of [
      "AmqpTopology",
      "AmqpMessage",
      "AmqpDelivery",
      "AmqpError",
      "AmqpDriver",
      "PublishError",
      "AmqpContract",
      "Codec",
      "AsyncApi"
    ]
  ) {
    it(`${module} alone loads nothing of amqplib`, async () => {
      assert.deepStrictEqual(await loadedBy(`effect-amqp/${module}`), [])
    })
  }

  it("AmqpConnection loads it", async () => {
    assert.isNotEmpty(await loadedBy("effect-amqp/AmqpConnection"))
  })
})
