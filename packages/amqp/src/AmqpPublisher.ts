/**
 * Confirmed publishing: every publish ends, within a known time, in a broker confirm or in a typed failure.
 *
 * A publish succeeds when RabbitMQ confirmed the message and did not return it: then every queue that the message was
 * routed to has it. A message whose outcome became unknown, because the connection or the channel ended, is published
 * again on the next one until its deadline, with the same `messageId`: a message may arrive twice, and none is lost
 * that was confirmed.
 *
 * Messages that were confirmed and not published again keep the order in which they were submitted. Messages in
 * quarantine (see {@link AmqpPublisher.publish}) may be overtaken.
 *
 * @see https://www.rabbitmq.com/docs/confirms
 * @see https://www.rabbitmq.com/docs/publishers
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import type { AmqpError } from "./AmqpError.ts"
import type { Message } from "./AmqpMessage.ts"
import { allOrNothing } from "./internal/allOrNothing.ts"
import { bound, count } from "./internal/checkOptions.ts"
import { AmqpConnection } from "./internal/connection/service.ts"
import * as Monotonic from "./internal/monotonic.ts"
import * as Batches from "./internal/publisher/batch.ts"
import type { Channels } from "./internal/publisher/channels.ts"
import * as PublishChannels from "./internal/publisher/channels.ts"
import type { Purpose } from "./internal/publisher/metrics.ts"
import { PublisherMetrics } from "./internal/publisher/metrics.ts"
import * as Preparing from "./internal/publisher/prepare.ts"
import * as Single from "./internal/publisher/single.ts"
import * as Spans from "./internal/publisher/span.ts"
import type { Submitting } from "./internal/publisher/submit.ts"
import * as Submits from "./internal/publisher/submit.ts"
import * as WakeLater from "./internal/wakeLater.ts"
import type { BatchError, BatchFailure, PublishError } from "./PublishError.ts"

const TypeId = "~effect-amqp/AmqpPublisher"

/**
 * Counts the messages that are on their way.
 *
 * @category models
 * @since 0.1.0
 */
export interface PublisherCounts {
  /** Messages not written yet, or to be written again. */
  readonly waiting: number
  /** Messages written, and not confirmed yet. */
  readonly inFlight: number
  /** Bytes of the messages in flight, bodies and headers. */
  readonly inFlightBytes: number
}

/**
 * Decides what to do with a message of a stream that was not confirmed.
 *
 * @category models
 * @since 0.1.0
 */
export type OnFailure<E, R> = (failure: BatchFailure) => Effect.Effect<void, E, R>

/**
 * Publishes messages and waits for the broker's confirm of each.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpPublisher {
  readonly [TypeId]: typeof TypeId
  /**
   * Publishes one message and waits until the broker has confirmed it. Waiting for a connection, for a place in flight
   * and for the socket counts toward the publisher's `confirmTimeout`. Interrupted, it leaves nothing behind; a message
   * that is on the wire by then may still arrive.
   *
   * RabbitMQ closes the channel for a message to an exchange that does not exist or that the user may not write to, and
   * for one that is too large for it. The publisher opens another channel, publishes the other messages again, and puts
   * into quarantine what may close that one too: messages like the one that was refused, until RabbitMQ takes one of
   * them, and, if the broker's words do not tell which message it was, all that were in flight. Messages in quarantine
   * go through a channel of their own, one at a time: each fails without failing other messages. The bounds of the
   * options count for either channel by itself, and `counts` for both.
   */
  readonly publish: (message: Message) => Effect.Effect<void, PublishError>
  /**
   * Hands one message over without waiting for its confirm: succeeds when the message is on its way, and calls
   * `onFailure` later if it was not confirmed, with whatever {@link publish} would have failed with: `Unroutable` if it
   * was returned, `ConfirmTimeout` if no confirm came in time. For what another message answers, so that only its
   * failure is news: a reply, or a part of a stream.
   *
   * Messages that are handed over one after the other keep that order, and memory stays bounded: where more than
   * `maxWaiting` others wait to be written, it waits until the message has its outcome. Interrupted, it leaves the
   * message on its way.
   *
   * A message that fails at once, such as one whose body cannot be encoded, is reported before it returns. Otherwise
   * `onFailure` runs in a fiber of the publisher's scope, whose end waits for it within the `drainTimeout`.
   *
   * @example
   * ```ts
   * import { Effect } from "effect"
   * import { AmqpPublisher } from "effect-amqp"
   *
   * const program = AmqpPublisher.AmqpPublisher.use((publisher) =>
   *   publisher.submit({ routingKey: "replies", body: "done" }, ({ reason }) =>
   *     reason._tag === "Unroutable"
   *       ? Effect.log(`nobody waits at ${reason.routingKey}`)
   *       : Effect.logWarning("a reply was lost", reason))
   * )
   * ```
   *
   * @since 0.2.0
   */
  readonly submit: <R = never>(
    message: Message,
    onFailure: (error: PublishError) => Effect.Effect<void, never, R>
  ) => Effect.Effect<void, never, R>
  /**
   * Publishes a batch with one fiber, `inFlight` messages at a time, and waits until all have their outcome. Succeeds
   * when all were confirmed, and fails with `BatchError`, which says which were not and why; a message that fails does
   * not stop the others. `inFlight` is a whole number of 1 or more, anything else is a defect. Defaults to the
   * publisher's
   * `maxInFlight`.
   *
   * The messages of a window, which holds no more bytes than `maxInFlightBytes` allow, wait together, and their
   * deadlines run together: a batch settles within `confirmTimeout` for each window that it fills.
   */
  readonly publishAll: (
    messages: Iterable<Message>,
    options?: { readonly inFlight?: number | undefined }
  ) => Effect.Effect<void, BatchError>
  /**
   * Publishes a stream of any length with one fiber, keeping `inFlight` messages on their way; the stream is pulled as
   * they are confirmed. The sink gives the number of confirmed messages. A message that fails ends it with its
   * `PublishError`; with `onFailure` the stream goes on, and every failure is handed to it.
   *
   * A stream hands over a chunk at a time, of up to 4,096 elements for most sources. Where bodies are large, put
   * `Stream.rechunk` before the place where they are made, so that no more of them than that are held at once.
   *
   * @example
   * ```ts
   * import { Stream } from "effect"
   * import { AmqpPublisher } from "effect-amqp"
   *
   * const rows = Stream.range(1, 100_000)
   *
   * const confirmed = AmqpPublisher.AmqpPublisher.use((publisher) =>
   *   rows.pipe(
   *     Stream.map((row) => ({ routingKey: "rows", body: { row } })),
   *     Stream.run(publisher.sink({ inFlight: 1000 }))
   *   )
   * )
   * ```
   */
  readonly sink: <E = PublishError, R = never>(options?: {
    readonly inFlight?: number | undefined
    readonly onFailure?: OnFailure<E, R> | undefined
  }) => Sink.Sink<number, Message, never, E, R>
  /** Counts the messages that wait and that are in flight now. */
  readonly counts: Effect.Effect<PublisherCounts>
}

/**
 * Identifies the service that publishes.
 *
 * @category services
 * @since 0.1.0
 */
export const AmqpPublisher: Context.Service<AmqpPublisher, AmqpPublisher> = Context.Service<AmqpPublisher>(
  "effect-amqp/AmqpPublisher"
)

/**
 * Configures a publisher.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Bounds a publish from the call to the confirm, all waiting and publishing again included. Defaults to `5 seconds`.
   */
  readonly confirmTimeout?: Duration.Input | undefined
  /** Bounds the messages that are written and not confirmed. Defaults to 1000. */
  readonly maxInFlight?: number | undefined
  /** Bounds the bytes of the messages in flight; a larger message goes alone. Defaults to 16 MiB. */
  readonly maxInFlightBytes?: number | undefined
  /**
   * Bounds the messages that may wait for a place when `whenFull` is not `wait`. A batch and a stream hold their
   * messages back rather than exceed it. Defaults to 10,000.
   */
  readonly maxWaiting?: number | undefined
  /**
   * Says what happens to a message that finds `maxWaiting` others waiting: `wait` waits within its deadline, `fail`
   * fails it with `Full`, `dropOldest` fails with `Full` the one that has waited longest. Defaults to `wait`.
   */
  readonly whenFull?: "wait" | "fail" | "dropOldest" | undefined
  /**
   * Says what happens to a message whose connection or channel ended before its confirm came: `republish` publishes it
   * again until its deadline, `fail` fails it with `published: "unknown"`. Defaults to `republish`.
   */
  readonly unconfirmed?: "republish" | "fail" | undefined
  /**
   * Says when a message that the broker refused (`basic.nack`) is published again, on a fresh channel, within its
   * deadline; `Schedule.recurs(0)` fails it at once. Defaults to 3 times, after 100 ms, 200 ms and 400 ms.
   */
  readonly retryNacked?: Schedule.Schedule<unknown> | undefined
  /** Bounds a body, in bytes. Defaults to 16 MiB, which is RabbitMQ's own limit since 4.0. */
  readonly maxMessageBytes?: number | undefined
  /**
   * Gives each message a producer span by OpenTelemetry's messaging conventions, which travels with the message in its
   * header `traceparent`. A span costs time even if nobody exports it. Defaults to `false`.
   */
  readonly tracing?: boolean | undefined
  /**
   * Whose messages it publishes: metrics tell the copies of a consumer's retry from the application's messages.
   *
   * @internal
   */
  readonly purpose?: Purpose | undefined
  /** Bounds how long the end of the scope waits for messages on their way. Defaults to `5 seconds`. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * Makes a publisher with a channel of its own, which is drained and closed when the scope ends. Waits for the channel;
 * fails if the connection is finished, and with `InvalidConfiguration` for an option that cannot work.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<AmqpPublisher, AmqpError, AmqpConnection | Scope.Scope> => allOrNothing(open(options))

const open = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<AmqpPublisher, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const confirmTimeout = yield* bound("confirmTimeout", options.confirmTimeout ?? "5 seconds")
  const drainTimeout = yield* bound("drainTimeout", options.drainTimeout ?? "5 seconds")
  const maxMessageBytes = yield* count("maxMessageBytes", options.maxMessageBytes ?? 16 * 1024 * 1024)
  const maxInFlight = yield* count("maxInFlight", options.maxInFlight ?? 1000)
  const maxInFlightBytes = yield* count("maxInFlightBytes", options.maxInFlightBytes ?? 16 * 1024 * 1024)
  const maxWaiting = yield* count("maxWaiting", options.maxWaiting ?? 10_000)

  const clock = yield* Clock.Clock
  // From 0 on, because a small number in each message needs no memory of its own.
  const epoch = Monotonic.millis(clock)
  const wakeLater = yield* WakeLater.make
  const metrics: PublisherMetrics = new PublisherMetrics(
    yield* Effect.context<never>(),
    wakeLater,
    options.purpose ?? "publish",
    () => channels.counts()
  )
  const channels: Channels = yield* PublishChannels.make({
    connection,
    maxInFlight,
    maxInFlightBytes,
    maxWaiting,
    whenFull: options.whenFull ?? "wait",
    unconfirmed: options.unconfirmed ?? "republish",
    confirmMillis: Duration.toMillis(confirmTimeout),
    retryNacked: options.retryNacked ?? Schedule.upTo(Schedule.exponential("100 millis"), { times: 3 }),
    now: () => Monotonic.millis(clock) - epoch,
    wakeLater
  }, metrics)
  yield* channels.open
  const prepare = Preparing.make(maxMessageBytes, (exchange, reason) => {
    metrics.to(exchange).settled(reason, 0)
    metrics.changed()
  })
  const spans = options.tracing === true ? Spans.make(clock, channels.session) : undefined
  const single = { channels, prepare, wakeLater, spans }
  const batches = { ...single, maxInFlight, maxInFlightBytes }
  const submitting = yield* Submits.make({ ...single, maxWaiting })
  // After the channels', so that it runs before: they are closed when nothing is on its way any more.
  yield* Effect.addFinalizer(() => drain(channels, submitting, drainTimeout))

  return AmqpPublisher.of({
    [TypeId]: TypeId,
    publish: Single.make(single),
    submit: submitting.submit,
    publishAll: (messages, batch) => Batches.publishAll(batches, messages, batch?.inFlight),
    sink: <E = PublishError, R = never>(
      stream: { readonly inFlight?: number | undefined; readonly onFailure?: OnFailure<E, R> | undefined } = {}
    ) => Batches.sink<E, R>(batches, stream.inFlight, stream.onFailure ?? (({ error }) => Effect.fail(error as E))),
    counts: Effect.sync(channels.counts)
  })
})

/** Waits for what is on its way, fails what is left, waits for those who hear of it, and reports it. */
const drain = (channels: Channels, submitting: Submitting, drainTimeout: Duration.Duration): Effect.Effect<void> =>
  Effect.gen(function*() {
    const before = channels.counts()
    yield* Effect.timeoutOption(channels.close, drainTimeout)
    const { inFlight, waiting } = channels.counts()
    yield* channels.end
    yield* Effect.timeoutOption(submitting.heard, drainTimeout)
    if (before.waiting + before.inFlight === 0) return
    yield* Effect.logInfo("AMQP publisher drained", {
      settled: before.waiting + before.inFlight - waiting - inFlight,
      unknown: inFlight,
      unsent: waiting
    })
  })

/**
 * Provides a publisher with a channel of its own, drained in order when the layer is released. Building it fails as
 * {@link make} does.
 *
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
 *
 * const topology = AmqpTopology.make(AmqpTopology.queue("invoices", { type: "quorum" }))
 *
 * const Publishing = AmqpPublisher.layer({ confirmTimeout: "2 seconds" }).pipe(
 *   Layer.provide(AmqpTopology.layer(topology)),
 *   Layer.provide(AmqpConnection.layerConfig())
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<AmqpPublisher, AmqpError, AmqpConnection> =>
  Layer.effect(AmqpPublisher, make(options))

/**
 * Provides a publisher as {@link layer} does, with options that are read from configuration: each option may be a
 * `Config`, or all of them one. Fails with `ConfigError` if one cannot be read.
 *
 * @example
 * ```ts
 * import { Config, Duration } from "effect"
 * import { AmqpPublisher } from "effect-amqp"
 *
 * const Live = AmqpPublisher.layerConfig({
 *   confirmTimeout: Config.Duration("CONFIRM_TIMEOUT").pipe(Config.withDefault(Duration.seconds(5)))
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<AmqpPublisher, AmqpError | Config.ConfigError, AmqpConnection> =>
  Layer.effect(AmqpPublisher, Effect.flatMap(Config.unwrap(options), make))
