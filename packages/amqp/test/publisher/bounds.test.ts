import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("the bounds of an AmqpPublisher", () => {
  it.effect("no more than maxInFlight messages are written before one is confirmed", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      const publishing = yield* begin(
        Effect.forEach(Array.from({ length: 10 }, (_, i) => i), (i) => publish(paid(i)), { concurrency: "unbounded" })
      )
      assert.deepInclude(yield* publisher.counts, { waiting: 7, inFlight: 3 })
      assert.strictEqual((yield* broker.published).length, 3)
      yield* broker.releaseConfirms
      yield* Fiber.join(publishing)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 3 } }))))

  it.effect("no more than maxInFlightBytes are written, but a larger message goes alone", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      const publishing = yield* begin(
        Effect.forEach([5000, 100, 100], (size) => publish(paid("x".repeat(size))), { concurrency: "unbounded" })
      )
      assert.deepInclude(yield* publisher.counts, { waiting: 2, inFlight: 1 })
      yield* broker.releaseConfirms
      yield* Fiber.join(publishing)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlightBytes: 1000 } }))))

  it.effect("whenFull: \"fail\" fails the message that finds the queue full", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.withholdConfirms
      const publishing = yield* begin(Effect.forEach([1, 2, 3, 4], (i) => Effect.result(publish(paid(i))), {
        concurrency: "unbounded"
      }))
      yield* broker.releaseConfirms
      const results = yield* Fiber.join(publishing)
      assert.deepStrictEqual(results.map(Result.isSuccess), [true, true, true, false])
      assert.strictEqual(Result.isFailure(results[3]!) && results[3].failure.reason._tag, "Full")
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 1, maxWaiting: 2, whenFull: "fail" } }))))

  it.effect("whenFull: \"dropOldest\" fails the message that has waited longest", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.withholdConfirms
      const publishing = yield* begin(Effect.forEach([1, 2, 3, 4], (i) => Effect.result(publish(paid(i))), {
        concurrency: "unbounded"
      }))
      yield* broker.releaseConfirms
      const results = yield* Fiber.join(publishing)
      assert.deepStrictEqual(results.map(Result.isSuccess), [true, false, true, true])
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 1, maxWaiting: 2, whenFull: "dropOldest" } }))))

  it.effect("a small message goes when the large one before it is interrupted, which did not fit", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.withholdConfirms
      const first = yield* begin(publish(paid("first")))
      const large = yield* begin(publish(paid("x".repeat(2000))))
      const small = yield* begin(publish(paid("small")))
      assert.strictEqual((yield* broker.published).length, 1)
      yield* Fiber.interrupt(large)
      yield* Virtual.settle
      assert.strictEqual((yield* broker.published).length, 2)
      yield* broker.releaseConfirms
      yield* Fiber.joinAll([first, small])
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlightBytes: 1000 } }))))

  it.effect("confirms that never come do not take the byte window for good: it moves to a fresh channel", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.loseConfirms(1)
      const lost = yield* begin(reason(publish(paid("x".repeat(2000)))))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(lost))._tag, "ConfirmTimeout")
      const next = yield* begin(publish(paid("y".repeat(2000))))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(next)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlightBytes: 1000 } }))))

  it.effect("messages that were lost during an alarm do not take the byte window for good when it is over", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.loseConfirms(3)
      yield* broker.block()
      const lost = yield* begin(
        Effect.forEach([1, 2, 3], (body) => reason(publish(paid(body))), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("5 seconds")
      for (const lostOne of yield* Fiber.join(lost)) {
        assert.deepInclude(lostOne, { _tag: "ConfirmTimeout", waitingFor: "unblocked" })
      }
      yield* broker.unblock
      yield* Virtual.settle
      const next = yield* begin(publish(paid(4)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(next)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 3 } }))))

  it.effect("a blocked broker makes publishes wait within their deadline, and the rest goes when it is over", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.block("low on disk")
      const first = yield* begin(reason(publish(paid("in time? no"))))
      yield* TestClock.adjust("3 seconds")
      const second = yield* begin(publish(paid("in time? yes")))
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(yield* Fiber.join(first), { _tag: "ConfirmTimeout", waitingFor: "unblocked" })
      yield* broker.unblock
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(second)
    }).pipe(Effect.provide(Virtual.layer())))
})
