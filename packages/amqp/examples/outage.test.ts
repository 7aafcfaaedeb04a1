import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"

const invoices = AmqpTopology.queue("invoices")
const App = AmqpPublisher.layer({ confirmTimeout: "5 seconds" }).pipe(
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(invoices))),
  Layer.provide(AmqpConnection.layer())
)
const placeOrder = (id: number) =>
  AmqpPublisher.AmqpPublisher.use((publisher) => publisher.publish({ routingKey: "invoices", body: { id } }))

it.effect("an outage delays an invoice and loses none", () =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    yield* broker.cutConnections
    yield* broker.refuseConnects(3)
    const placing = yield* placeOrder(42).pipe(Effect.forkChild({ startImmediately: true }))
    yield* TestClock.adjust("4 seconds")
    yield* Fiber.join(placing)
    assert.strictEqual(yield* broker.depth("invoices"), 1)
  }).pipe(Effect.provide(App), Effect.provide(AmqpMemory.layer)))
