import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { onMemory, work } from "../support/Consuming.ts"

describe("the options of an AmqpConsumer", () => {
  const refused: ReadonlyArray<readonly [string, AmqpConsumer.Options<never>]> = [
    ["a prefetch of 0, which is no limit", { prefetch: 0 }],
    ["a prefetch above 65535", { prefetch: 65_536 }],
    ["a prefetch below the concurrency, which could never be reached", { prefetch: 5, concurrency: 10 }],
    ["a concurrency of 1.5", { concurrency: 1.5 }],
    ["a handler timeout without an end", { handlerTimeout: "Infinity" }],
    ["a drain without an end", { drainTimeout: "Infinity" }]
  ]
  for (const [what, options] of refused) {
    it.effect(`refuses ${what}`, () =>
      onMemory(Effect.gen(function*() {
        const error = yield* Effect.flip(AmqpConsumer.make(work, () => Effect.void, options))
        assert.strictEqual(error.reason._tag, "InvalidConfiguration")
      })))
  }
})
