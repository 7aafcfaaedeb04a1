import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpStream, AmqpTopology } from "effect-amqp"

const log = AmqpTopology.queue("log", { type: "stream", maxLengthBytes: 10_000_000_000 })

const Billing = AmqpStream.layer(
  log,
  (delivery) => Effect.flatMap(delivery.text, (text) => Effect.log(`offset ${AmqpStream.offsetOf(delivery)}: ${text}`)),
  { group: "billing", from: "first" } // or "last", "next", a Date, an offset: where a new group begins
)

const Till = Layer.effectDiscard(Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publishAll(["opened", "paid", "shipped"].map((body) => ({ routingKey: "log", body })))
}))

Layer.mergeAll(Billing, Till).pipe(
  Layer.provide(AmqpStream.storeInQueue), // or KeyValueOffsetStore, SqlOffsetStore, or one of your own
  Layer.provide(AmqpPublisher.layer()),
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(log))),
  Layer.provide(AmqpConnection.layerConfig()),
  AmqpConnection.launch,
  NodeRuntime.runMain
)
