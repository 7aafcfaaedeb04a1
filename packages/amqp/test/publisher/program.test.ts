/**
 * Programs that publish, as their users write them.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Stream } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpMessage, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { TestClock } from "effect/testing"

const orders = AmqpTopology.exchange("orders", { type: "topic" })
const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
const parked = AmqpTopology.queue("invoices.parked", { type: "quorum" })
const topology = AmqpTopology.make(
  orders,
  invoices,
  parked,
  AmqpTopology.bind(invoices, orders, "order.*.paid")
)

const AmqpLive = AmqpPublisher.layer({ confirmTimeout: "5 seconds" }).pipe(
  Layer.provide(AmqpTopology.layer(topology)),
  Layer.provideMerge(AmqpConnection.layerConfig())
)

/** Where what is not certain is kept. */
class Outbox extends Context.Service<Outbox>()("test/Outbox", {
  make: Effect.sync(() => {
    const notes: Array<string> = []
    const note = (what: string) => (message: AmqpMessage.Message) =>
      Effect.sync(() => void notes.push(`${what} ${message.messageId}`))
    return { notes, keep: note("keep"), retry: note("retry") }
  })
}) {
  static readonly layer = Layer.effect(this, this.make)
}

describe("a program that publishes", () => {
  it.effect("has its message in every queue that it was routed to when the publish succeeds", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publish({ exchange: orders, routingKey: "order.42.paid", body: { id: 42 } })

      const broker = yield* AmqpMemory.AmqpMemory
      assert.strictEqual(yield* broker.depth("invoices"), 1)
    }).pipe(Effect.provide(AmqpLive), Effect.provide(AmqpMemory.layer)))

  it.effect("sends again what the broker has not, and keeps what it may have", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const outbox = yield* Outbox
      const place = (message: AmqpMessage.Message) =>
        publisher.publish(message).pipe(
          Effect.catchReasons("PublishError", {
            Unroutable: ({ routingKey }) => Effect.sync(() => outbox.notes.push(`nobody is bound to ${routingKey}`)),
            ConfirmTimeout: ({ published }) => published === "unknown" ? outbox.keep(message) : outbox.retry(message)
          }),
          Effect.forkChild({ startImmediately: true })
        )
      const paid = (messageId: string) => ({ exchange: orders, routingKey: "order.42.paid", messageId, body: "paid" })

      yield* Fiber.join(yield* place({ exchange: orders, routingKey: "order.42.lost", body: "lost" }))

      yield* broker.withholdConfirms
      const unknown = yield* place(paid("unknown"))
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(unknown)
      yield* broker.heal

      yield* broker.crash
      yield* pass(100)
      const away = yield* place(paid("away"))
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(away)

      assert.deepStrictEqual(outbox.notes, ["nobody is bound to order.42.lost", "keep unknown", "retry away"])
    }).pipe(Effect.provide(Outbox.layer), Effect.provide(AmqpLive), Effect.provide(AmqpMemory.layer)))

  it.effect("publishes a stream of any length by one fiber, with an outcome for each message", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const rows = Stream.range(1, 5000).pipe(Stream.map((id) => ({ id, key: `order.${id}.paid` })))
      const confirmed = yield* rows.pipe(
        Stream.map((row) => ({ exchange: orders, routingKey: row.key, body: row })),
        Stream.run(publisher.sink({ inFlight: 1000 }))
      )

      const broker = yield* AmqpMemory.AmqpMemory
      assert.deepStrictEqual([confirmed, yield* broker.depth("invoices")], [5000, 5000])
    }).pipe(Effect.provide(AmqpLive), Effect.provide(AmqpMemory.layer)))

  it.effect("sends a delivery on with its headers as they came, and its attempts counted anew", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const headers = { "x-tenant": "a", "x-retry-attempt": 3, "x-retry-queue": "invoices" }
      yield* publisher.publish({ routingKey: parked.name, messageId: "1", body: { id: 42 }, headers })
      yield* AmqpConsumer.stream(parked).pipe(
        Stream.take(1),
        Stream.runForEach(Effect.fnUntraced(function*(delivery) {
          yield* publisher.publish(AmqpMessage.forward(delivery, { routingKey: "invoices", attempts: "reset" }))
          yield* delivery.ack()
        }))
      )

      const broker = yield* AmqpMemory.AmqpMemory
      assert.deepStrictEqual([yield* broker.depth(parked.name), yield* broker.depth("invoices")], [0, 1])
      yield* AmqpConsumer.stream(invoices).pipe(
        Stream.take(1),
        Stream.runForEach((delivery) => {
          assert.deepInclude(delivery, { messageId: "1", attempts: 1 })
          assert.strictEqual(delivery.headers["x-tenant"], "a")
          return delivery.ack()
        })
      )
    }).pipe(Effect.provide(AmqpLive), Effect.provide(AmqpMemory.layer)))
})
