import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { AmqpChannel, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, connectionLayer, depth, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher when the connection is lost", () => {
  it.effect("an outage delays a message and loses none", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* TestClock.adjust("10 seconds")
      yield* broker.refuseConnects(3)
      yield* broker.cutConnections
      const publishing = yield* begin(publish(paid("x")))
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(publishing)
      assert.strictEqual(yield* depth(), 1)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("what was not confirmed is published again with the same messageId, in the same order", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* TestClock.adjust("10 seconds")
      yield* broker.withholdConfirms
      const publishing = yield* begin(
        Effect.forEach([1, 2, 3], (i) => publish(paid(i, { messageId: `m${i}` })), { concurrency: "unbounded" })
      )
      yield* broker.cutConnections
      yield* broker.releaseConfirms
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(publishing)
      const published = yield* broker.published
      assert.deepStrictEqual(published.map((record) => record.messageId), [
        "m1",
        "m2",
        "m3",
        "m1",
        "m2",
        "m3"
      ])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("with unconfirmed: \"fail\" what was in flight fails with ConnectionLost and unknown", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.withholdConfirms
      const publishing = yield* begin(reason(publish(paid("x"))))
      yield* broker.cutConnections
      assert.deepInclude(yield* Fiber.join(publishing), { _tag: "ConnectionLost", published: "unknown" })
    }).pipe(Effect.provide(Virtual.layer({ publisher: { unconfirmed: "fail" } }))))

  it.effect("a message whose fate became unknown stays unknown, whatever a later attempt fails with", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      yield* TestClock.adjust("10 seconds")
      yield* broker.withholdConfirms
      const publishing = yield* begin(reason(publish(paid("x"))))
      yield* channel.unbindQueue(Virtual.invoices, Virtual.orders, { routingKey: "paid" })
      yield* channel.deleteQueue(Virtual.invoices)
      yield* broker.cutConnections
      yield* broker.releaseConfirms
      yield* TestClock.adjust("1 second")
      const ended = yield* Fiber.join(publishing)
      assert.deepInclude(ended, { _tag: "Unroutable", published: "unknown" })
    }).pipe(
      Effect.provide(
        // Declared once, not on every session: the queue stays away.
        Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
          Layer.provideMerge(connectionLayer),
          Layer.provideMerge(Layer.effectDiscard(
            Effect.scoped(Effect.provide(AmqpTopology.declare(Virtual.topology), connectionLayer))
          )),
          Layer.provideMerge(AmqpMemory.layer)
        )
      )
    ))
})
