import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schedule, Schema } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpTopology } from "effect-amqp"

const Order = Schema.Struct({ id: Schema.Number })
const rejected = AmqpTopology.queue("invoices.rejected", { type: "quorum" })
const invoices = AmqpTopology.queue("invoices", {
  type: "quorum",
  deadLetterExchange: "", // without one, what is refused is dropped
  deadLetterRoutingKey: rejected.name
})

const InvoiceWorker = AmqpConsumer.layer(
  invoices,
  Effect.fnUntraced(function*(delivery) {
    const order = yield* delivery.json(Order) // what is no Order goes to the policy
    yield* Effect.log(`invoice for order ${order.id}`)
  }),
  {
    concurrency: 10,
    onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
  }
)

InvoiceWorker.pipe(
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(invoices, rejected))),
  Layer.provide(AmqpConnection.layerConfig()),
  AmqpConnection.launch, // ends with exit code 1 and the reason when the worker can do nothing any more
  NodeRuntime.runMain
)
