import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schema, Stream } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"

const Reading = Schema.Struct({ celsius: Schema.Number })
const readings = AmqpTopology.queue("readings", { type: "quorum" })

const AmqpLive = AmqpPublisher.layer().pipe(
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(readings))),
  Layer.provideMerge(AmqpConnection.layerConfig())
)

const program = Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publishAll([20, 21, 22].map((celsius) => ({ routingKey: "readings", body: { celsius } })))

  const sum = yield* AmqpConsumer.stream(readings, { prefetch: 10 }).pipe(
    Stream.take(3),
    Stream.mapEffect(Effect.fnUntraced(function*(delivery) {
      const { celsius } = yield* delivery.json(Reading)
      yield* delivery.ack() // a stream acknowledges nothing by itself
      return celsius
    })),
    Stream.runSum
  )
  yield* Effect.log(`on average ${sum / 3} degrees`)
})

program.pipe(Effect.provide(AmqpLive), NodeRuntime.runMain)
