import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"

const orders = AmqpTopology.exchange("orders")
const invoices = AmqpTopology.queue("invoices")
const topology = AmqpTopology.make(orders, invoices, AmqpTopology.bind(invoices, orders, "paid"))

const Shop = AmqpPublisher.layer({ confirmTimeout: "10 seconds" }).pipe(
  Layer.provide(AmqpTopology.layer(topology)),
  Layer.provide(AmqpConnection.layer({ retry: { interval: "1 second", max: 100 } }))
)

const pay = (id: number) =>
  AmqpPublisher.AmqpPublisher.use((publisher) =>
    publisher.publish({ exchange: orders, routingKey: "paid", body: { id } })
  )

it.effect("an outage of three refused connects delays an invoice and loses none", () =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    yield* pay(1)
    yield* broker.cutConnections
    yield* broker.refuseConnects(3)

    const paying = yield* Effect.forkChild(pay(2), { startImmediately: true })
    yield* TestClock.adjust("2 seconds")
    assert.isUndefined(paying.pollUnsafe())
    assert.strictEqual(yield* broker.depth("invoices"), 1)

    yield* TestClock.adjust("2 seconds")
    yield* Fiber.join(paying)
    assert.strictEqual(yield* broker.depth("invoices"), 2)
  }).pipe(Effect.provide(Shop), Effect.provide(AmqpMemory.layer)))
