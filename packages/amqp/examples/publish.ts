import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"

const orders = AmqpTopology.exchange("orders", { type: "topic" })
const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
const topology = AmqpTopology.make(orders, invoices, AmqpTopology.bind(invoices, orders, "order.*.paid"))

const AmqpLive = AmqpPublisher.layer({ confirmTimeout: "5 seconds" }).pipe(
  Layer.provide(AmqpTopology.layer(topology)),
  Layer.provide(AmqpConnection.layerConfig()) // AMQP_URL and friends
)

const program = Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publish({ exchange: orders, routingKey: "order.42.paid", body: { id: 42 } })
  yield* Effect.log("RabbitMQ has it")
})

program.pipe(Effect.provide(AmqpLive), NodeRuntime.runMain)
