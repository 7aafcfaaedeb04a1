import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { AmqpChannel, AmqpConnection, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"

const connected = AmqpChannel.layer().pipe(
  Layer.provideMerge(AmqpConnection.layer()),
  Layer.provideMerge(AmqpMemory.layer)
)

const orders = AmqpTopology.exchange("orders", { type: "topic" })
const invoices = AmqpTopology.queue("invoices", { maxLength: 10 })

describe("a passive topology", () => {
  it.effect("succeeds where everything is as it says, and changes nothing", () =>
    Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(orders, invoices))
      yield* AmqpTopology.declare(AmqpTopology.make(orders, invoices), { passive: true })
    }).pipe(Effect.scoped, Effect.provide(connected)))

  it.effect("names all that is missing or different, and makes nothing", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue("invoices", { maxLength: 11 })))
      const missing = AmqpTopology.queue("missing")
      const error = yield* Effect.flip(
        AmqpTopology.declare(AmqpTopology.make(orders, invoices, missing), { passive: true })
      )
      assert.strictEqual(error.reason._tag, "TopologyDiffers")
      assert.match(error.message, /exchange "orders" does not exist/)
      assert.match(error.message, /queue "invoices" has another x-max-length: wanted '?10'?, found '?11'?/)
      assert.match(error.message, /queue "missing" does not exist/)
      const absent = yield* Effect.flip(channel.checkQueue("missing"))
      assert.strictEqual(absent.reason._tag, "NotFound")
    }).pipe(Effect.scoped, Effect.provide(connected)))

  it.effect("refuses queues that belong to this connection alone", () =>
    Effect.gen(function*() {
      for (const own of [AmqpTopology.queue("own", { exclusive: true }), AmqpTopology.serverNamedQueue("own")]) {
        const error = yield* Effect.flip(AmqpTopology.declare(AmqpTopology.make(own), { passive: true }))
        assert.strictEqual(error.reason._tag, "InvalidConfiguration")
        assert.match(error.message, /"own" belongs to this connection alone/)
      }
    }).pipe(Effect.scoped, Effect.provide(connected)))
})

describe("a topology", () => {
  it.effect("removes a binding that is to be absent, and minds none that is absent already", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpTopology.declare(AmqpTopology.make(orders, invoices, AmqpTopology.bind(invoices, orders, "order.#")))
      const channel = yield* AmqpChannel.AmqpChannel
      const without = AmqpTopology.make(orders, invoices, AmqpTopology.unbind(invoices, orders, "order.#"))
      yield* AmqpTopology.declare(without)
      yield* AmqpTopology.declare(without)
      yield* channel.bindExchange(orders, orders, { routingKey: "x" })
      assert.strictEqual(yield* broker.depth("invoices"), 0)
      const again = yield* Effect.flip(AmqpTopology.declare(
        AmqpTopology.make(without, AmqpTopology.bind(invoices, orders, "order.#"))
      ))
      assert.match(again.message, /once to be there, once to be absent/)
    }).pipe(Effect.scoped, Effect.provide(connected)))

  it.effect("may have an entity twice if its arguments differ in their order only", () =>
    AmqpTopology.declare(AmqpTopology.make(
      AmqpTopology.queue("q", { arguments: { "x-a": 1, "x-b": { one: 1, two: 2 } } }),
      AmqpTopology.queue("q", { arguments: { "x-b": { two: 2, one: 1 }, "x-a": 1 } })
    )).pipe(Effect.scoped, Effect.provide(connected)))
})
