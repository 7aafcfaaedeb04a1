import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schedule, Schema } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"

const Order = Schema.Struct({ id: Schema.Number })
const orders = AmqpTopology.exchange("orders", { type: "topic" })
const rejected = AmqpTopology.queue("packing.rejected", { type: "quorum" })
const packing = AmqpTopology.queue("packing", {
  type: "quorum",
  deadLetterExchange: "",
  deadLetterRoutingKey: rejected.name
})
const topology = AmqpTopology.make(
  orders,
  packing,
  rejected,
  AmqpTopology.bind(packing, orders, "order.*.paid")
)

const Packer = AmqpConsumer.layer(
  packing,
  Effect.fnUntraced(function*(delivery) {
    const order = yield* delivery.json(Order)
    yield* Effect.log(`packing order ${order.id}`)
  })
)

const Till = Layer.effectDiscard(Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publish({ exchange: orders, routingKey: "order.42.paid", body: { id: 42 } }).pipe(
    Effect.repeat(Schedule.spaced("1 second")),
    Effect.forkScoped
  )
}))

// A layer is built once, wherever its value is provided: this is one connection, with a session to publish and one to
// consume, so that a broker that blocks publishers stops no consumer.
const App = Layer.mergeAll(Till, Packer).pipe(
  Layer.provide(AmqpPublisher.layer()),
  Layer.provide(AmqpTopology.layer(topology)),
  Layer.provide(AmqpConnection.layerConfig())
)

App.pipe(AmqpConnection.launch, NodeRuntime.runMain)
