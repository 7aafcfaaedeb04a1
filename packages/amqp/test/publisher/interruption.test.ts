import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, paid, publish } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("interruption of AmqpPublisher.publish", () => {
  it.effect("of a waiting message sends nothing and frees its place", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      const first = yield* begin(publish(paid(1)))
      const second = yield* begin(publish(paid(2)))
      yield* Fiber.interrupt(second)
      assert.deepInclude(yield* publisher.counts, { waiting: 0, inFlight: 1 })
      yield* broker.releaseConfirms
      yield* Fiber.join(first)
      assert.strictEqual((yield* broker.published).length, 1)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 1 } }))))

  it.effect("of a message in flight leaves nothing when its confirm comes", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      const publishing = yield* begin(publish(paid(1)))
      yield* Fiber.interrupt(publishing)
      yield* broker.releaseConfirms
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(yield* publisher.counts, { waiting: 0, inFlight: 0, inFlightBytes: 0 })
    }).pipe(Effect.provide(Virtual.layer())))
})
