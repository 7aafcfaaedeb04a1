/** Readers of a stream over the memory broker, and a store of offsets that a test looks into. */
import { Effect, Layer } from "effect"
import type { AmqpConsumer, AmqpDelivery } from "effect-amqp"
import { AmqpConnection, AmqpPublisher, AmqpStream, AmqpTopology, OffsetStore } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { settled } from "effect-amqp-test-rig/VirtualTime"

export const log = AmqpTopology.queue("log", { type: "stream" })

export const client = (options?: AmqpConnection.Options) =>
  AmqpPublisher.layer().pipe(
    Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(log))),
    Layer.provideMerge(AmqpConnection.layer(options))
  )

/** What was saved, in its order; the last save of a group counts. */
export interface Store extends OffsetStore.OffsetStore {
  readonly saves: Array<number>
  /** Fails the next calls as long as it is set. */
  isDown: boolean
}

export const makeStore = (offsets: Readonly<Record<string, number>> = {}): Store => {
  const kept = new Map(Object.entries(offsets))
  const saves: Array<number> = []
  const store: Store = {
    saves,
    isDown: false,
    load: (group, stream) =>
      Effect.suspend(() =>
        store.isDown
          ? Effect.fail(
            new OffsetStore.OffsetStoreError({ operation: "load", group, stream, cause: new Error("down") })
          )
          : Effect.succeed(kept.get(`${group} ${stream}`))
      ),
    save: (group, stream, offset) =>
      Effect.suspend(() => {
        if (store.isDown) {
          return Effect.fail(
            new OffsetStore.OffsetStoreError({ operation: "save", group, stream, cause: new Error("down") })
          )
        }
        kept.set(`${group} ${stream}`, offset)
        saves.push(offset)
        return Effect.void
      })
  }
  return store
}

/** Run a test in a scope that ends before the connection does. */
export const onMemory = <A, E, R>(
  test: Effect.Effect<A, E, R>,
  { broker = AmqpMemory.layer, store = makeStore() }: {
    readonly broker?: Layer.Layer<AmqpMemory.AmqpMemory>
    readonly store?: OffsetStore.OffsetStore
  } = {}
) =>
  test.pipe(
    Effect.scoped,
    Effect.provideService(OffsetStore.OffsetStore, store),
    Effect.provide(client().pipe(Layer.provideMerge(broker)))
  )

/** Append messages with these bodies. */
export const append = (...bodies: ReadonlyArray<string | number>) => appendWith({}, ...bodies)

export const appendWith = (headers: Readonly<Record<string, string>>, ...bodies: ReadonlyArray<string | number>) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    for (const body of bodies) yield* publisher.publish({ routingKey: "log", headers, body: String(body) })
    yield* settled
  })

export const bodyOf = (delivery: AmqpDelivery.Delivery): string => Buffer.from(delivery.body).toString()

/** A handler that notes what it was given. */
export const noting = (handled: Array<string>) => (delivery: AmqpDelivery.Delivery) =>
  Effect.sync(() => {
    handled.push(bodyOf(delivery))
  })

export const read = <E = never>(
  handler: (delivery: AmqpDelivery.Delivery) => Effect.Effect<unknown, E>,
  options: Partial<AmqpStream.Options<Exclude<E, AmqpConsumer.HandlerDecision>>> = {}
) => AmqpStream.make(log, handler, { group: "billing", ...options })
