import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpTopology } from "effect-amqp"

const invoices = AmqpTopology.queue("invoices", { type: "quorum" })

const AmqpLive = AmqpConsumer.layer(invoices, () => Effect.void).pipe(
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(invoices))),
  Layer.provideMerge(AmqpConnection.layerConfig())
)

const program = Effect.gen(function*() {
  const connection = yield* AmqpConnection.AmqpConnection
  yield* connection.changes.pipe(Stream.runForEach((state) => Effect.log(state._tag)), Effect.forkScoped)
  const { consumers } = yield* connection.health // of each session, and each consumer: attached or not, since when, why
  for (const consumer of consumers) yield* Effect.log(`${consumer.queue}: ${consumer._tag}`)
  yield* Effect.raceFirst(Effect.sleep("1 second"), connection.finished) // fails when the connection has given up
})

program.pipe(Effect.scoped, Effect.provide(AmqpLive), NodeRuntime.runMain)
