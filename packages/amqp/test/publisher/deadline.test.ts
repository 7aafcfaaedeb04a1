import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher at the deadline", () => {
  it.effect("a message that was written fails with ConfirmTimeout and unknown, exactly then", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.withholdConfirms
      const publishing = yield* begin(reason(publish(paid("x"))))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(publishing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* Fiber.join(publishing), {
        _tag: "ConfirmTimeout",
        published: "unknown",
        waitingFor: "confirm",
        millis: 5000
      })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("the deadline comes when it is due although the time of day is set back or forth", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let shift = 0
      const shifted: Clock.Clock = {
        ...clock,
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + shift
      }
      yield* Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        for (const hours of [-1, 1]) {
          const publishing = yield* begin(reason(publish(paid("x"))))
          shift += hours * 3_600_000
          yield* TestClock.adjust("4999 millis")
          assert.isUndefined(publishing.pollUnsafe(), `set by ${hours} hours, the publish is not over yet`)
          yield* TestClock.adjust("1 millis")
          assert.strictEqual((yield* Fiber.join(publishing))._tag, "ConfirmTimeout")
        }
      }).pipe(Effect.provide(Virtual.layer().pipe(Layer.provide(Layer.succeed(Clock.Clock, shifted)))))
    }))

  it.effect("a message that waited for a connection fails with ConfirmTimeout and was not published", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* TestClock.adjust("10 seconds")
      yield* broker.refuseConnects(1000)
      yield* broker.cutConnections
      yield* TestClock.adjust(0)
      const publishing = yield* begin(reason(publish(paid("x"))))
      yield* TestClock.adjust("5 seconds")
      assert.deepInclude(yield* Fiber.join(publishing), {
        _tag: "ConfirmTimeout",
        published: "no",
        waitingFor: "connection"
      })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("a late confirm is absorbed: it settles nothing and no neighbour", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      const first = yield* begin(reason(publish(paid("first"))))
      yield* TestClock.adjust("3 seconds")
      const second = yield* begin(publish(paid("second")))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(first))._tag, "ConfirmTimeout")
      assert.strictEqual((yield* publisher.counts).inFlight, 2)
      yield* broker.releaseConfirms
      yield* Fiber.join(second)
      assert.deepStrictEqual(yield* publisher.counts, { waiting: 0, inFlight: 0, inFlightBytes: 0 })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("confirms that never come do not close the publisher for good: a full window moves to a fresh channel", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.loseConfirms(3)
      const publishing = yield* begin(
        Effect.forEach([1, 2, 3], (i) => reason(publish(paid(i))), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("5 seconds")
      for (const lost of yield* Fiber.join(publishing)) assert.strictEqual(lost._tag, "ConfirmTimeout")
      const next = yield* begin(publish(paid(4)))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(next)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 3 } }))))
})
