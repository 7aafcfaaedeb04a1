/**
 * Readers of streams that resume: each group keeps how far it has read, and goes on there.
 *
 * A stream keeps its messages when they are read, and any number of groups read it, each at its own pace. A reader handles
 * messages in the order of the stream, and saves the offset below which all are handled at intervals and when its scope
 * ends. After a lost connection it goes on behind what it has handled, and handles nothing twice; after a crash it goes on
 * at the offset that was saved last, so that what was handled since then is handled once more. No message is skipped that
 * the stream still has; what it dropped before the group had read it is said in the log, and counted by the metric
 * `amqp_stream_missed`.
 *
 * Offsets are numbers that grow from message to message. They are not dense: some numbers belong to no message, such as
 * the first one of a segment.
 *
 * @see https://www.rabbitmq.com/docs/streams
 * @since 0.2.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Consumer } from "./AmqpConsumer.ts"
import type { Delivery } from "./AmqpDelivery.ts"
import type { AmqpError } from "./AmqpError.ts"
import { allOrNothing } from "./internal/allOrNothing.ts"
import type { AmqpConnection } from "./internal/connection/service.ts"
import type { HandlerDecision } from "./internal/consumer/decision.ts"
import type { HandlerContext } from "./internal/consumer/worker.ts"
import { offsetOf as readOffset } from "./internal/stream/offset.ts"
import type { Options, Source } from "./internal/stream/options.ts"
import type { RetryInPlace } from "./internal/stream/policy.ts"
import * as QueueStore from "./internal/stream/queueStore.ts"
import * as StreamReader from "./internal/stream/reader.ts"
import type { OffsetStoreError } from "./OffsetStore.ts"
import { OffsetStore } from "./OffsetStore.ts"

export type { From, Options, Source } from "./internal/stream/options.ts"
export type { FailureOutcome, FailurePolicy, RetryInPlace } from "./internal/stream/policy.ts"

/**
 * A reader at work: a consumer that also tells how far it has come.
 *
 * @category models
 * @since 0.2.0
 */
export interface Reader extends Consumer {
  /** The offset at which the group goes on: all messages below it are handled. `undefined` before anything was there. */
  readonly offset: Effect.Effect<number | undefined>
}

const begin = Effect.fnUntraced(function*<E, R>(
  stream: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>>,
  context: HandlerContext<R>
): Effect.fn.Return<Reader, AmqpError | OffsetStoreError, AmqpConnection | OffsetStore | Scope.Scope> {
  const reader = yield* allOrNothing(StreamReader.start(stream, handler, options, context))
  return {
    health: Effect.sync(reader.health),
    counts: Effect.sync(reader.counts),
    ended: reader.ended,
    pause: reader.pause,
    resume: reader.resume,
    offset: Effect.sync(reader.offset)
  }
})

/**
 * Makes a reader that is drained, and saves its offset, when the scope ends. Returns when the broker has the reader.
 *
 * Fails with `OffsetStoreError` if the offset of the group cannot be loaded, and with `InvalidConfiguration` if an option
 * is out of its range or the queue is no stream; otherwise as `AmqpConsumer.make`.
 *
 * A message whose handler fails is tried again in place, or goes where `onFailure` says; `AmqpConsumer.deadLetter` and
 * `AmqpConsumer.drop` decide in a handler as they do there. A handler that dies is treated like one that fails, except that
 * a policy that is a function is not asked: then `deadLetterTo` has a copy if it is given, and the handler is tried again if
 * not.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = <E, R>(
  stream: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>>
): Effect.Effect<
  Reader,
  AmqpError | OffsetStoreError,
  AmqpConnection | OffsetStore | Exclude<R, Scope.Scope> | Scope.Scope
> => Effect.contextWith((context: HandlerContext<R>) => begin(stream, handler, options, context))

/**
 * Reads until interrupted, and drains then; otherwise as {@link make}. Fails when the reader cannot come back.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpStream } from "effect-amqp"
 *
 * const program = AmqpStream.run("log", (delivery) => Effect.flatMap(delivery.text, Effect.log), { group: "ledger" })
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const run = <E, R>(
  stream: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>>
): Effect.Effect<never, AmqpError | OffsetStoreError, AmqpConnection | OffsetStore | Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: HandlerContext<R>) =>
    Effect.scoped(Effect.flatMap(begin(stream, handler, options, context), (reader) => reader.ended))
  )

/**
 * Makes a layer that reads from when it is built until it is released, and drains then. Building fails as {@link make}
 * does. A reader that cannot come back later says so in the log and in the connection's health.
 *
 * @example
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { AmqpStream, AmqpTopology } from "effect-amqp"
 *
 * const Entry = Schema.Struct({ id: Schema.Number })
 * const log = AmqpTopology.queue("log", { type: "stream", maxLengthBytes: 10_000_000_000 })
 *
 * const Billing = AmqpStream.layer(
 *   log,
 *   Effect.fnUntraced(function*(delivery) {
 *     const entry = yield* delivery.json(Entry)
 *     yield* Effect.log(`offset ${AmqpStream.offsetOf(delivery)}: entry ${entry.id}`)
 *   }),
 *   { group: "billing", from: "first" }
 * ).pipe(Layer.provide(AmqpStream.storeInQueue))
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = <E, R>(
  stream: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>>
): Layer.Layer<never, AmqpError | OffsetStoreError, AmqpConnection | OffsetStore | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(make(stream, handler, options))

/**
 * Makes the {@link layer} of options that are read from configuration; building fails with a `ConfigError` if they cannot
 * be read.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = <E, R>(
  stream: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Config.Wrap<Options<Exclude<E, HandlerDecision>>>
): Layer.Layer<
  never,
  AmqpError | OffsetStoreError | Config.ConfigError,
  AmqpConnection | OffsetStore | Exclude<R, Scope.Scope>
> => Layer.effectDiscard(Effect.flatMap(Config.unwrap(options), (options) => make(stream, handler, options)))

/**
 * Reads the offset of a message, which a stream adds to it; `undefined` for a message of another queue.
 *
 * @category getters
 * @since 0.2.0
 */
export const offsetOf = (delivery: Delivery): number | undefined => readOffset(delivery.properties)

/**
 * Makes the failure policy of running the handler again after the delays of a schedule, while what comes behind the message
 * waits. A message that fails once more after the schedule meets the fate of `exhausted`. That defaults to `deadLetter` if
 * there is a `deadLetterTo`; if there is none, the message is tried again as by default.
 *
 * @example
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { AmqpStream } from "effect-amqp"
 *
 * const Billing = AmqpStream.layer("log", (delivery) => Effect.flatMap(delivery.text, Effect.log), {
 *   group: "billing",
 *   onFailure: AmqpStream.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })), {
 *     exhausted: "drop"
 *   })
 * })
 * ```
 *
 * @category failure policies
 * @since 0.2.0
 */
export const retry = (
  schedule: Schedule.Schedule<unknown>,
  options: { readonly exhausted?: "deadLetter" | "drop" | undefined } = {}
): RetryInPlace => ({ _tag: "RetryInPlace", schedule, exhausted: options.exhausted })

/**
 * Keeps offsets in RabbitMQ alone: a stream for each group and stream, with the name `<stream>.offset.<group>`, whose last
 * message is the offset. A stream because reading one takes nothing away: whoever dies while loading from another queue has
 * the only message in the hands, the next one finds nothing, and a quorum queue drops it after 20 such deaths. It is
 * declared when an offset is loaded, which needs the permission to configure it, and keeps itself at about 2 MB. A group
 * without an offset leaves a mark there, which tells an empty stream from one that is not back yet after a crash.
 *
 * @category layers
 * @since 0.2.0
 */
export const storeInQueue: Layer.Layer<OffsetStore, AmqpError, AmqpConnection> = Layer.effect(
  OffsetStore,
  QueueStore.make
)
