import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { AmqpError, AmqpPartitions, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { onMemory } from "../support/Sharing.ts"

const events = AmqpPartitions.make("events", { count: 12 })

describe("a key and its partition", () => {
  it("is the CRC-32 of the key's UTF-8 bytes modulo the count, as other languages have it", () => {
    const vectors: ReadonlyArray<readonly [string, number]> = [
      ["", 0],
      ["a", 3904355907],
      ["customer-42", 1241360405],
      ["Zürich", 3540756798],
      ["注文/7", 3039504721]
    ]
    for (const [key, checksum] of vectors) {
      for (const count of [1, 7, 12, 1000]) {
        assert.strictEqual(AmqpPartitions.partitionOf({ count }, key), checksum % count, `${key} of ${count}`)
      }
    }
    assert.deepStrictEqual(vectors.map(([key]) => AmqpPartitions.partitionOf(events, key)), [0, 3, 5, 6, 1])
  })

  it("spreads keys evenly", () => {
    const sizes = Array.from({ length: 12 }, () => 0)
    for (let i = 0; i < 12_000; i++) sizes[AmqpPartitions.partitionOf(events, `customer-${i}`)]!++
    for (const size of sizes) assert.isTrue(size > 850 && size < 1150, sizes.join(" "))
  })
})

describe("the queues of partitions", () => {
  it("have one active consumer, leaders on all nodes, and are not kept for long for an instance whose node is gone", () => {
    for (const queue of AmqpPartitions.make("events", { count: 3 }).queues) {
      assert.include(queue.arguments, {
        "x-queue-type": "quorum",
        "x-single-active-consumer": true,
        "x-queue-leader-locator": "balanced",
        "x-consumer-disconnected-timeout": 20_000
      })
    }
  })
})

describe("publishing to partitions", () => {
  it.effect("puts a message into the queue of its key, with the key as a header, once they are declared", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpPartitions.declare(events)
      yield* AmqpPartitions.publish(events, "customer-42", { body: { id: 1 }, headers: { own: 1 } })
      assert.strictEqual(yield* broker.depth("events.5"), 1)
      const message = AmqpPartitions.message(events, "customer-42", { body: "", headers: { own: 1 } })
      assert.deepStrictEqual(message.headers, { own: 1, "x-partition-key": "customer-42" })
      assert.strictEqual(message.routingKey, "5")
    })))

  it.effect("is Unroutable where nobody has declared them", () =>
    onMemory(Effect.gen(function*() {
      const exit = yield* Effect.result(AmqpPartitions.publish(events, "a", { body: "" }))
      assert.strictEqual(Result.isFailure(exit) ? exit.failure.reason._tag : undefined, "ExchangeNotFound")
    })))

  it("refuses a count that is none", () => {
    for (const count of [0, -1, 1.5, Number.NaN, 2001]) {
      try {
        AmqpPartitions.make("events", { count })
        assert.fail("it was made")
      } catch (error) {
        assert.instanceOf(error, AmqpError.AmqpError)
        assert.include((error as Error).message, "is not a whole number of partitions from 1 to 2000")
      }
    }
  })

  it.effect("goes through a batch in the order of each key", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpPartitions.declare(events)
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publishAll(
        Array.from({ length: 120 }, (_, i) => AmqpPartitions.message(events, `k${i % 60}`, { body: i }))
      )
      const depths = yield* Effect.forEach(events.queues, ({ name }) => broker.depth(name))
      assert.strictEqual(depths.reduce((sum, depth) => sum + depth, 0), 120)
    })))
})
