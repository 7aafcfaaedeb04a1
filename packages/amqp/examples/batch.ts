import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"

const readings = AmqpTopology.queue("readings", { type: "quorum" })

const AmqpLive = AmqpPublisher.layer().pipe(
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(readings))),
  Layer.provide(AmqpConnection.layerConfig())
)

const messageOf = (n: number) => ({ routingKey: readings.name, body: { celsius: n } })

const program = Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher

  // One fiber, a window of messages in flight, and an outcome for each of them.
  yield* publisher.publishAll([messageOf(1), messageOf(2), messageOf(3)]).pipe(
    Effect.catchTag("BatchError", ({ failures }) => Effect.logWarning(`${failures.length} were not confirmed`))
  )

  const confirmed = yield* Stream.range(1, 1000).pipe(
    Stream.map(messageOf),
    Stream.run(publisher.sink({ inFlight: 100 }))
  )
  yield* Effect.log(`${confirmed} of the stream are confirmed`)
})

program.pipe(Effect.provide(AmqpLive), NodeRuntime.runMain)
