import { NodeRuntime } from "@effect/platform-node"
import { Data, Effect, Layer, Schedule } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpRedrive, AmqpTopology } from "effect-amqp"

class DatabaseDown extends Data.TaggedError("DatabaseDown") {}

const refunds = AmqpTopology.queue("refunds", { type: "quorum" })
const policy = AmqpConsumer.retry(Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 2 })))
const topology = AmqpTopology.make(refunds, AmqpConsumer.retryTopology(refunds, policy.schedule))

const AmqpLive = AmqpPublisher.layer().pipe(
  Layer.provideMerge(AmqpTopology.layer(topology)),
  Layer.provideMerge(AmqpConnection.layerConfig())
)

const program = Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* AmqpConsumer.make(refunds, () => Effect.fail(new DatabaseDown()), { onFailure: policy })
  yield* publisher.publish({ routingKey: "refunds", body: { id: 42 } })
  yield* Effect.sleep("2 seconds") // after the last attempt it is parked
}).pipe(
  Effect.scoped,
  Effect.andThen(
    // Back to the queue whose retry parked them: in bulk, in order, each acknowledged when its copy is confirmed.
    AmqpRedrive.redrive("refunds.parked", {
      where: (delivery) => delivery.headers["x-parked-error"] === "DatabaseDown",
      max: 1000
    })
  ),
  Effect.andThen(({ moved }) => Effect.log(`moved ${moved} back`))
)

program.pipe(Effect.provide(AmqpLive), NodeRuntime.runMain)
