import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import type { AmqpMessage, PublishError } from "effect-amqp"
import { AmqpChannel, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, depth, paid } from "../support/Publishing.ts"
import * as Spans from "../support/Spans.ts"
import * as Virtual from "../support/Virtual.ts"

type Heard = Array<readonly [body: unknown, reason: PublishError.PublishErrorReason]>

const submitTo = (heard: Heard) => (message: AmqpMessage.Message) =>
  Effect.flatMap(
    AmqpPublisher.AmqpPublisher,
    (publisher) => publisher.submit(message, ({ reason }) => Effect.sync(() => void heard.push([message.body, reason])))
  )

describe("AmqpPublisher.submit", () => {
  it.effect("goes on before the confirm, and is silent when it comes", () =>
    Effect.gen(function*() {
      const heard: Heard = []
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      yield* submitTo(heard)(paid(1))
      assert.strictEqual((yield* publisher.counts).inFlight, 1)
      yield* broker.releaseConfirms
      yield* Virtual.settle
      assert.strictEqual((yield* publisher.counts).inFlight, 0)
      assert.strictEqual(yield* depth(), 1)
      assert.deepStrictEqual(heard, [])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("hears that a message was returned, and none of its neighbours", () =>
    Effect.gen(function*() {
      const heard: Heard = []
      for (let i = 0; i < 60; i++) yield* submitTo(heard)(paid(i, { routingKey: i % 20 === 7 ? "nobody" : "paid" }))
      yield* Virtual.settle
      assert.deepStrictEqual(heard.map(([body, { _tag }]) => [body, _tag]), [
        [7, "Unroutable"],
        [27, "Unroutable"],
        [47, "Unroutable"]
      ])
      assert.strictEqual(yield* depth(), 57)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("hears what publish would have failed with: a missing exchange, a refusal, no confirm in time", () =>
    Effect.gen(function*() {
      const heard: Heard = []
      const broker = yield* AmqpMemory.AmqpMemory
      yield* submitTo(heard)(paid("nowhere", { exchange: "missing" }))
      yield* TestClock.adjust("1 second")
      yield* broker.nackConfirms(4)
      yield* submitTo(heard)(paid("nacked"))
      yield* TestClock.adjust("1 second")
      yield* broker.withholdConfirms
      yield* submitTo(heard)(paid("withheld"))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(heard.map(([body, { _tag }]) => [body, _tag]), [
        ["nowhere", "ExchangeNotFound"],
        ["nacked", "Nacked"],
        ["withheld", "ConfirmTimeout"]
      ])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("hears at once of a message that cannot be sent at all", () =>
    Effect.gen(function*() {
      const heard: Heard = []
      yield* submitTo(heard)(paid(1n as never))
      yield* submitTo(heard)(paid("x".repeat(100)))
      assert.deepStrictEqual(heard.map(([, { _tag, published }]) => [_tag, published]), [
        ["EncodeError", "no"],
        ["TooLarge", "no"]
      ])
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxMessageBytes: 50 } }))))

  it.effect("keeps the order of messages, across a lost connection", () =>
    Effect.gen(function*() {
      const heard: Heard = []
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      for (let i = 0; i < 10; i++) yield* submitTo(heard)(paid(i))
      yield* Virtual.settle
      yield* broker.cutConnections
      for (let i = 10; i < 20; i++) yield* submitTo(heard)(paid(i))
      yield* TestClock.adjust("4 seconds")
      const bodies: Array<unknown> = []
      for (let i = 0; i < 20; i++) {
        bodies.push(Number(yield* (yield* Effect.fromOption(yield* channel.get(Virtual.invoices))).text))
      }
      assert.deepStrictEqual(bodies, Array.from({ length: 20 }, (_, i) => i))
      assert.deepStrictEqual(heard, [])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("waits while more than maxWaiting others wait to be written", () =>
    Effect.gen(function*() {
      const heard: Heard = []
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      let submitted = 0
      const fiber = yield* begin(
        Effect.forEach(
          Array.from({ length: 100 }, (_, i) => i),
          (i) => Effect.andThen(submitTo(heard)(paid(i)), Effect.sync(() => submitted++)),
          { discard: true }
        )
      )
      assert.strictEqual(submitted, 15)
      assert.deepInclude(yield* publisher.counts, { inFlight: 5, waiting: 11 })
      yield* broker.releaseConfirms
      yield* Virtual.settle
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(yield* depth(), 100)
      assert.deepStrictEqual(heard, [])
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 5, maxWaiting: 10 } }))))

  it.effect("has told of every failure when the scope has ended", () =>
    Effect.gen(function*() {
      const heard: Heard = []
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Virtual.application({ publisher: { drainTimeout: "10 seconds" } }),
        scope
      )
      const publisher = Context.get(context, AmqpPublisher.AmqpPublisher)
      yield* broker.withholdConfirms
      yield* publisher.submit(
        paid("last"),
        ({ reason }) => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => void heard.push(["last", reason])))
      )
      const closing = yield* begin(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Virtual.settle
      assert.isDefined(closing.pollUnsafe())
      yield* publisher.submit(paid("late"), ({ reason }) => Effect.sync(() => void heard.push(["late", reason])))
      assert.deepStrictEqual(heard.map(([body, { _tag }]) => [body, _tag]), [
        ["last", "ConfirmTimeout"],
        ["late", "PublisherClosed"]
      ])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("has a span that ends with the outcome", () =>
    Effect.gen(function*() {
      const { spans, tracer } = Spans.make()
      const publisher = yield* AmqpPublisher.make({ tracing: true })
      yield* Effect.forEach(["paid", "nobody"], (routingKey) =>
        publisher.submit(paid("abc", { routingKey }), () => Effect.void)).pipe(Effect.withTracer(tracer))
      yield* Virtual.settle
      assert.deepStrictEqual(
        spans.map(({ attributes, name, status }) => [name, status._tag, attributes.get("error.type")]),
        [
          ["publish orders:paid", "Ended", undefined],
          ["publish orders:nobody", "Ended", "Unroutable"]
        ]
      )
    }).pipe(Effect.scoped, Effect.provide(Virtual.layer())))
})
