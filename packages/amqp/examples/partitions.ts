import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schema } from "effect"
import { AmqpConnection, AmqpPartitions, AmqpPublisher } from "effect-amqp"

const Payment = Schema.Struct({ account: Schema.String, cents: Schema.Int })

const payments = AmqpPartitions.make("payments", { count: 12 }) // an exchange, 12 quorum queues, their bindings

const Worker = AmqpPartitions.layer(
  payments,
  Effect.fnUntraced(function*(delivery, partition) {
    const { account, cents } = yield* delivery.json(Payment)
    yield* Effect.log(`${account}: ${cents} cents, partition ${partition}`)
  })
)

const program = Effect.gen(function*() {
  yield* AmqpPartitions.publish(payments, "alice", { body: { account: "alice", cents: 1250 } })
  yield* AmqpPartitions.publish(payments, "alice", { body: { account: "alice", cents: -250 } })
  yield* Effect.sleep("1 second")
})

const AmqpLive = Worker.pipe(
  Layer.provideMerge(AmqpPublisher.layer()),
  Layer.provide(AmqpConnection.layerConfig())
)

program.pipe(Effect.provide(AmqpLive), NodeRuntime.runMain)
