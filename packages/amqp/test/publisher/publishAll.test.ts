import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher.publishAll", () => {
  const batch = (count: number, key: (i: number) => string = () => "paid") =>
    Array.from({ length: count }, (_, i) => paid(i, { routingKey: key(i) }))

  it.effect("succeeds when every message was confirmed, in the order of the batch", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const publishing = yield* begin(publisher.publishAll(batch(500), { inFlight: 50 }))
      yield* Virtual.settle
      yield* Fiber.join(publishing)
      assert.deepStrictEqual(
        (yield* broker.published).map((record) => Number(Buffer.from(record.body).toString())),
        Array.from({ length: 500 }, (_, i) => i)
      )
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("fails with which were not confirmed and why, after all the others were", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const error = yield* Effect.flip(publisher.publishAll([
        ...batch(100, (i) => i % 10 === 3 ? "nobody" : "paid"),
        paid("x", { priority: 999 })
      ]))
      assert.strictEqual(error.confirmed, 90)
      assert.deepStrictEqual(
        error.failures.map((failure) => failure.index),
        [3, 13, 23, 33, 43, 53, 63, 73, 83, 93, 100]
      )
      assert.strictEqual(error.failures[0].error.reason._tag, "Unroutable")
      assert.strictEqual(error.failures[10]?.error.reason._tag, "InvalidMessage")
      assert.match(error.message, /11 of 101/)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("of nothing succeeds", () =>
    Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) => publisher.publishAll([])).pipe(
      Effect.provide(Virtual.layer())
    ))

  it.effect("with a window that cannot work is a defect that says so, and does not hang", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      for (const inFlight of [0, -1, 1.5, NaN]) {
        const exit = yield* Effect.exit(publisher.publishAll(batch(1), { inFlight }))
        assert.isTrue(Exit.hasDies(exit), `inFlight: ${inFlight}`)
      }
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("each message has a deadline of its own, which one timer watches", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      const publishing = yield* begin(Effect.flip(publisher.publishAll(batch(4), { inFlight: 2 })))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(publishing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* broker.releaseConfirms
      yield* Virtual.settle
      const error = yield* Fiber.join(publishing)
      assert.strictEqual(error.confirmed, 2)
      assert.deepStrictEqual(error.failures.map(({ index }) => index), [0, 1])
      assert.deepInclude(error.failures[0].error.reason, { _tag: "ConfirmTimeout", published: "unknown" })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("interrupted, lets a generator of messages clean up", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      let isClosed = false
      const messages = function*() {
        try {
          for (let body = 0;; body++) yield paid(body)
        } finally {
          isClosed = true
        }
      }
      yield* broker.withholdConfirms
      const running = yield* begin(publisher.publishAll(messages(), { inFlight: 2 }))
      yield* Fiber.interrupt(running)
      assert.isTrue(isClosed)
      yield* broker.releaseConfirms
      yield* Virtual.settle
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("ends by its deadlines behind a message of somebody else that cannot be written", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* TestClock.adjust("10 seconds")
      yield* broker.refuseConnects(1000)
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* begin(reason(publish(paid("other"))))
      const batch = yield* begin(Effect.flip(publisher.publishAll([paid(1), paid(2)])))
      for (let second = 0; second < 11; second++) yield* TestClock.adjust("1 second")
      yield* Virtual.settle
      const { failures } = yield* Fiber.join(batch)
      assert.deepStrictEqual(failures.map(({ error }) => error.reason._tag), ["ConfirmTimeout", "ConfirmTimeout"])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("ends with the publisher behind a message of somebody else that cannot be written", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Virtual.application(), scope)
      const publisher = Context.get(context, AmqpPublisher.AmqpPublisher)
      yield* TestClock.adjust("10 seconds")
      yield* broker.refuseConnects(1000)
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* begin(Effect.flip(publisher.publish(paid("other"))))
      const batch = yield* begin(Effect.flip(publisher.publishAll([paid(1), paid(2)])))
      yield* begin(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("5 seconds")
      yield* Virtual.settle
      assert.strictEqual((yield* Fiber.join(batch)).failures.length, 2)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("has its turn beside streams that never end", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.delayConfirms("10 millis")
      const endless = Stream.map(Stream.forever(Stream.make("x")), (body) => paid(body))
      const streams = [
        yield* begin(Stream.run(endless, publisher.sink({ inFlight: 100 }))),
        yield* begin(Stream.run(endless, publisher.sink()))
      ]
      const batch = yield* begin(publisher.publishAll(Array.from({ length: 20 }, (_, body) => paid(body))))
      for (let turn = 0; turn < 50; turn++) yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(batch.pollUnsafe(), Exit.void)
      yield* Fiber.interruptAll(streams)
      yield* TestClock.adjust("10 millis")
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 8 } }))))

  it.effect("interrupted, sends nothing more and leaves nothing", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      const publishing = yield* begin(publisher.publishAll(batch(100), { inFlight: 10 }))
      yield* Fiber.interrupt(publishing)
      yield* broker.releaseConfirms
      yield* Virtual.settle
      assert.deepStrictEqual(yield* publisher.counts, { waiting: 0, inFlight: 0, inFlightBytes: 0 })
      assert.strictEqual((yield* broker.published).length, 10)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("the deadlines of a window run together while nothing can be written", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.make({ confirmTimeout: "500 millis" })
      yield* broker.refuseConnects(100)
      yield* broker.cutConnections
      const publishing = yield* begin(Effect.flip(publisher.publishAll(batch(20))))
      yield* TestClock.adjust("500 millis")
      const { failures } = yield* Fiber.join(publishing)
      assert.strictEqual(failures.length, 20)
      const windows = yield* begin(Effect.flip(publisher.publishAll(batch(20), { inFlight: 5 })))
      yield* TestClock.adjust("1499 millis")
      assert.isUndefined(windows.pollUnsafe(), "four windows take four deadlines")
      yield* Effect.repeat(TestClock.adjust("100 millis"), { times: 7 })
      assert.strictEqual((yield* Fiber.join(windows)).failures.length, 20)
      for (const { error } of failures) {
        assert.deepInclude(error.reason, { _tag: "ConfirmTimeout", waitingFor: "connection" })
      }
    }).pipe(Effect.provide(Virtual.layer())))
})
