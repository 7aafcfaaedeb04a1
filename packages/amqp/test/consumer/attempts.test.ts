import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { onMemory, sendWith, work } from "../support/Consuming.ts"

describe("AmqpDelivery.attempts", () => {
  it.effect("counts by x-retry-attempt, else by rejections of this queue in x-death, and adds x-delivery-count", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<number> = []
      yield* AmqpConsumer.make(work, (delivery) => Effect.sync(() => seen.push(delivery.attempts)))
      const deaths = [
        { queue: "work", reason: "rejected", count: 2 },
        { queue: "work", reason: "expired", count: 9 },
        { queue: "other", reason: "rejected", count: 9 }
      ]
      yield* sendWith({ headers: {} }, "a")
      yield* sendWith({ headers: { "x-death": deaths } }, "a")
      const fifth = { "x-retry-attempt": 5, "x-retry-queue": "work" }
      yield* sendWith({ headers: { ...fifth, "x-death": deaths } }, "a")
      yield* sendWith({ headers: { ...fifth, "x-delivery-count": 2 } }, "a")
      yield* sendWith({ headers: { ...fifth, "x-retry-attempt": "many", "x-delivery-count": -1 } }, "a")
      assert.deepStrictEqual(seen, [1, 3, 5, 7, 1])
    })))

  it.effect("does not count what x-retry-attempt says of another queue", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<number> = []
      yield* AmqpConsumer.make(work, (delivery) => Effect.sync(() => seen.push(delivery.attempts)))
      yield* sendWith({ headers: { "x-retry-attempt": 5, "x-retry-queue": "other" } }, "a")
      yield* sendWith({ headers: { "x-retry-attempt": 5 } }, "a")
      assert.deepStrictEqual(seen, [1, 1])
    })))
})
