import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schedule, Schema } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpTopology } from "effect-amqp"

const Order = Schema.Struct({ id: Schema.Number })
const orders = AmqpTopology.exchange("orders", { type: "topic" })
const rejected = AmqpTopology.queue("packing.rejected", { type: "quorum" })
const packing = AmqpTopology.queue("packing", {
  type: "quorum",
  deadLetterExchange: "", // without one, what is refused is dropped
  deadLetterRoutingKey: rejected.name
})
const topology = AmqpTopology.make(orders, packing, rejected, AmqpTopology.bind(packing, orders, "order.*.paid"))

const Packer = AmqpConsumer.layer(
  packing,
  Effect.fnUntraced(function*(delivery) {
    const order = yield* delivery.json(Order) // what is no Order goes to the policy
    yield* Effect.log(`packing order ${order.id}`)
  }),
  {
    concurrency: 10,
    onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
  }
)

Packer.pipe(
  Layer.provide(AmqpTopology.layer(topology)),
  Layer.provide(AmqpConnection.layerConfig()),
  AmqpConnection.launch, // ends with exit code 1 and the reason when the worker can do nothing any more
  NodeRuntime.runMain
)
