import { Effect, Layer, Logger, Metric, References } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import type { AmqpMessage } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"

export const dead = AmqpTopology.queue("dead")

export const work = AmqpTopology.queue("work", {
  type: "classic",
  deadLetterExchange: "",
  deadLetterRoutingKey: "dead"
})

export const topology = AmqpTopology.make(work, dead)

export const client = (options?: AmqpConnection.Options) =>
  Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpTopology.layer(topology)),
    Layer.provideMerge(AmqpConnection.layer(options))
  )

/** Run a test in a scope that ends before the connection does, as an application's does. */
export const onMemory = <A, E, R>(test: Effect.Effect<A, E, R>, broker = AmqpMemory.layer) =>
  test.pipe(Effect.scoped, Effect.provide(client().pipe(Layer.provideMerge(broker))))

export const send = (...bodies: ReadonlyArray<AmqpMessage.Body>) => sendWith({}, ...bodies)

export const sendWith = (rest: Partial<AmqpMessage.Message>, ...bodies: ReadonlyArray<AmqpMessage.Body>) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    for (const body of bodies) yield* publisher.publish({ routingKey: "work", ...rest, body })
    yield* settled
  })

export const ready = (queue: string) => Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.depth(queue))

/** The messages that are out, once the acknowledgements that wait for others have left as well. */
export const unacked = Effect.andThen(
  pass(5),
  Effect.map(
    Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.queue("work")),
    (queue) => queue?.unacked
  )
)

export const consumers = Effect.map(
  Effect.flatMap(AmqpConnection.AmqpConnection, (connection) => connection.health),
  (health) => health.consumers
)

/** A metric of the consumers of the queue, as it is told to whoever collects metrics: with the acknowledgements. */
export const metric = (id: string, policy?: string) =>
  Effect.map(Effect.andThen(pass(5), Metric.snapshot), (snapshot) => {
    const found = snapshot.find((metric) => {
      const attributes = metric.attributes as Record<string, string> | undefined
      return metric.id === id && attributes?.["queue"] === "work" && attributes["policy"] === policy
    })
    return found?.type === "Counter" ? found.state.count : found?.type === "Gauge" ? found.state.value : undefined
  })

export const withOwnMetrics = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => Effect.provideService(test, Metric.MetricRegistry, new Map()))

/** What is logged meanwhile, as messages with their annotations. */
export const logging = (
  lines: Array<{ readonly message: string; readonly annotations: Readonly<Record<string, unknown>> }>
) =>
  Logger.layer([
    Logger.make(({ fiber, message }) => {
      const [text] = Array.isArray(message) ? message : [message]
      lines.push({ message: String(text), annotations: fiber.getRef(References.CurrentLogAnnotations) })
    })
  ])
