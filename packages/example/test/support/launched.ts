/**
 * A worker as programs write it, which comes to its end in the way that its first argument names.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"

const invoices = AmqpTopology.queue("invoices")

const ends: Readonly<
  Record<string, Effect.Effect<unknown, unknown, AmqpMemory.AmqpMemory | AmqpConnection.AmqpConnection>>
> = {
  "given-up": Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.crash),
  "queue-gone": Effect.scoped(Effect.flatMap(AmqpChannel.make(), (channel) => channel.deleteQueue(invoices)))
}

const end = ends[process.argv[2] ?? ""]
const worker = end === undefined
  // Nobody listens on this port.
  ? AmqpConsumer.layer(invoices, () => Effect.void).pipe(
    Layer.provide(AmqpConnection.layer({ endpoints: { host: "127.0.0.1", port: 1 }, startup: { max: 0 } }))
  )
  : Layer.effectDiscard(Effect.forkScoped(Effect.andThen(Effect.sleep("50 millis"), end))).pipe(
    Layer.provide(AmqpConsumer.layer(invoices, () => Effect.void, { missingQueueTimeout: "50 millis" })),
    // The consumer's queue is declared once, by somebody else.
    Layer.provide(Layer.effectDiscard(
      Effect.scoped(Effect.flatMap(AmqpChannel.make(), (channel) => channel.declareQueue(invoices)))
    )),
    Layer.provide(AmqpConnection.layer({ retry: { interval: "10 millis", max: 2 } })),
    Layer.provide(AmqpMemory.layer)
  )

worker.pipe(AmqpConnection.launch, NodeRuntime.runMain)
