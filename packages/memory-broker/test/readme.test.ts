import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { readdirSync, readFileSync } from "node:fs"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

describe("README.md", () => {
  const readme = read("../README.md")

  for (const file of readdirSync(new URL("examples", import.meta.url))) {
    it(`shows ${file} as it is run`, () => {
      assert.include(readme, `\`\`\`ts\n${read(`examples/${file}`)}\`\`\``)
    })
  }

  it.effect("names every lever and every inspection of the service", () =>
    Effect.gen(function*() {
      const service = yield* AmqpMemory.AmqpMemory
      for (const name of Object.keys(service)) assert.match(readme, new RegExp(`\`${name}[(\`]`), name)
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
