/**
 * Instances that share partitions, each with a connection of its own as a process has.
 */
import { Effect, Exit, Layer, Scope } from "effect"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpChannel, AmqpConnection, AmqpPartitions, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"

/** What an instance did with a message. */
export interface Handled {
  readonly instance: string
  readonly partition: number
  readonly key: string
  readonly number: number
}

/** An instance of a group. */
export interface Instance {
  readonly name: string
  readonly health: Effect.Effect<AmqpConnection.Health>
  /** Leaves in order, and closes the connection. */
  readonly leave: Effect.Effect<void>
}

/** Joins a group under a name; the connection is called as the instance is, for the levers of the broker. */
export const join = <E, R, R2 = never>(
  partitions: AmqpPartitions.Partitions,
  name: string,
  handler: (delivery: AmqpDelivery.Delivery, partition: number) => Effect.Effect<unknown, E, R>,
  options: AmqpPartitions.Options<E, R2> & { readonly connection?: AmqpConnection.Options | undefined } = {}
) =>
  Effect.gen(function*() {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const { connection, ...rest } = options
    const services = yield* Layer.buildWithScope(
      AmqpPartitions.layer(partitions, handler, { instance: name, ...rest }).pipe(
        Layer.provideMerge(Layer.fresh(AmqpConnection.layer({ connectionName: name, ...connection })))
      ),
      scope
    )
    const instance: Instance = {
      name,
      health: Effect.flatMap(
        Effect.provideContext(AmqpConnection.AmqpConnection, services),
        ({ health }) => health
      ),
      leave: Scope.close(scope, Exit.void)
    }
    return instance
  })

/** The number of a message that {@link send} has sent. */
export const numberOf = (delivery: AmqpDelivery.Delivery): number => Number(delivery.messageId)

/** A program that publishes, over a broker of its own. */
export const onMemory = <A, E, R>(test: Effect.Effect<A, E, R>, broker = AmqpMemory.layer) =>
  test.pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
        Layer.provideMerge(AmqpConnection.layer({ connectionName: "publisher" })),
        Layer.provideMerge(broker)
      )
    )
  )

/** Publishes a message for each key, in order, with numbers from `from` on. */
export const send = (partitions: AmqpPartitions.Partitions, keys: ReadonlyArray<string>, from = 0) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    yield* publisher.publishAll(
      keys.map((key, at) => AmqpPartitions.message(partitions, key, { body: key, messageId: String(from + at) }))
    )
  })

/** The keys whose messages were first handled in another order than that of their publishes, or left one out. */
export const outOfOrder = (handled: ReadonlyArray<Handled>): ReadonlyArray<string> => {
  const last = new Map<string, number>()
  const seen = new Set<number>()
  const bad = new Set<string>()
  for (const { key, number } of handled) {
    if (seen.has(number)) continue
    seen.add(number)
    if (number < (last.get(key) ?? -1)) bad.add(key)
    last.set(key, number)
  }
  return Array.from(bad)
}
