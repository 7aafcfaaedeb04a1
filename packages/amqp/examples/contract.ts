import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schema } from "effect"
import { AmqpConnection, AmqpContract, AmqpPublisher, AmqpTopology } from "effect-amqp"

const orders = AmqpTopology.exchange("orders", { type: "topic" })
const accounts = AmqpTopology.queue("accounts", { type: "quorum" })

const OrderPaid = AmqpContract.make("order.paid", {
  payload: Schema.Struct({ id: Schema.Int, cents: Schema.Int, at: Schema.Date }),
  exchange: orders,
  key: "order.{id}.paid" // a field of the payload; the queue is bound to order.*.paid
})

const Worker = AmqpContract.layer(accounts, [OrderPaid], {
  "order.paid": ({ cents, id }) => Effect.log(`order ${id} brought ${cents} cents`)
})

const program = Effect.gen(function*() {
  yield* AmqpContract.publish(OrderPaid, { id: 42, cents: 1250, at: new Date() })
  yield* Effect.log("RabbitMQ has it")
  yield* Effect.sleep("1 second")
})

const AmqpLive = Worker.pipe(
  Layer.provideMerge(AmqpPublisher.layer()),
  Layer.provide(AmqpTopology.layer(AmqpContract.topology(accounts, [OrderPaid]))),
  Layer.provide(AmqpConnection.layerConfig())
)

program.pipe(Effect.provide(AmqpLive), NodeRuntime.runMain)
