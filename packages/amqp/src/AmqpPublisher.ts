/**
 * Confirmed publishing: every publish ends, within a known time, in a broker confirm or in a typed failure.
 *
 * A publish succeeds when RabbitMQ confirmed it and did not return it: then every queue that it was routed to has it. A
 * message whose outcome became unknown, because the connection or the channel went, is published again on the next one
 * until its deadline, with the same `messageId`; so a message may arrive twice and none is lost that was confirmed.
 * Messages that were not published again keep the order in which they were submitted. Only those like one for which
 * RabbitMQ closed the channel may be overtaken: by others, and by their like once RabbitMQ has taken one of them.
 *
 * @see https://www.rabbitmq.com/docs/confirms
 * @see https://www.rabbitmq.com/docs/publishers
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Sink from "effect/Sink"
import { AmqpConnection } from "./AmqpConnection.ts"
import type { AmqpError } from "./AmqpError.ts"
import type { Headers, Message } from "./AmqpMessage.ts"
import { allOrNothing } from "./internal/allOrNothing.ts"
import { bound, count } from "./internal/checkOptions.ts"
import * as Monotonic from "./internal/monotonic.ts"
import type { PipelineQueue } from "./internal/publisher/batch.ts"
import { Pipeline } from "./internal/publisher/batch.ts"
import * as PublishLane from "./internal/publisher/channel.ts"
import { PublisherMetrics } from "./internal/publisher/metrics.ts"
import { Suspects } from "./internal/publisher/quarantine.ts"
import type { PublishQueue } from "./internal/publisher/queue.ts"
import * as ProducerSpan from "./internal/publisher/span.ts"
import * as WakeLater from "./internal/wakeLater.ts"
import type { Encoded } from "./internal/wire/encodeMessage.ts"
import { encode } from "./internal/wire/encodeMessage.ts"
import { Refused } from "./internal/wire/limits.ts"
import type { BatchError, BatchFailure } from "./PublishError.ts"
import * as PublishErrors from "./PublishError.ts"
import { PublishError } from "./PublishError.ts"

const TypeId = "~effect-amqp/AmqpPublisher"

/** How many messages are on their way. */
export interface PublisherCounts {
  /** Not written yet, or to be written again. */
  readonly waiting: number
  /** Written, and not confirmed yet. */
  readonly inFlight: number
  /** Bytes of those in flight, bodies and headers. */
  readonly inFlightBytes: number
}

/** What to do with a message of a stream that was not confirmed. */
export type OnFailure<E, R> = (failure: BatchFailure) => Effect.Effect<void, E, R>

/** Publishes messages and waits for the broker's confirm of each. */
export interface AmqpPublisher {
  readonly [TypeId]: typeof TypeId
  /**
   * Publish one message and wait until the broker confirmed it. Waiting for a connection, for a place in flight and for
   * the socket counts toward the publisher's `confirmTimeout`. Interrupted, it leaves nothing behind; a message that is
   * on the wire by then may still arrive.
   *
   * RabbitMQ closes the channel for a message to an exchange that is not there or that the user may not write to, or one
   * that is too large for it. The publisher opens another. Messages like that one then go through a channel of their own,
   * alone, until RabbitMQ takes one of them: each fails, and takes no other with it. The bounds of the options count for
   * either channel by itself, and `counts` for both.
   */
  readonly publish: (message: Message) => Effect.Effect<void, PublishError>
  /**
   * Publish a batch with one fiber, `inFlight` messages at a time (the publisher's `maxInFlight` by default), and wait
   * until all have their outcome. Each message has a deadline of its own, which begins when its turn comes. Succeeds when
   * all were confirmed, and fails with `BatchError`, which says which were not and why; one that fails does not stop the
   * others. An `inFlight` that is not a whole number of 1 or more is a defect.
   */
  readonly publishAll: (
    messages: Iterable<Message>,
    options?: { readonly inFlight?: number | undefined }
  ) => Effect.Effect<void, BatchError>
  /**
   * Publish a stream of any length with one fiber, keeping `inFlight` messages on their way; the stream is pulled as
   * they are confirmed. The sink gives the number of confirmed messages. A message that fails ends it with its
   * `PublishError`; with `onFailure` the stream goes on, and every failure is handed to it.
   *
   * @example
   * ```ts
   * const confirmed = yield* rows.pipe(
   *   Stream.map((row) => ({ exchange: orders, routingKey: row.key, body: row })),
   *   Stream.run(publisher.sink({ inFlight: 1000 }))
   * )
   * ```
   */
  readonly sink: <E = PublishError, R = never>(options?: {
    readonly inFlight?: number | undefined
    readonly onFailure?: OnFailure<E, R> | undefined
  }) => Sink.Sink<number, Message, never, E, R>
  /** How many messages wait and are in flight now. */
  readonly counts: Effect.Effect<PublisherCounts>
}

/** The service that publishes. */
export const AmqpPublisher: Context.Service<AmqpPublisher, AmqpPublisher> = Context.Service<AmqpPublisher>(
  "effect-amqp/AmqpPublisher"
)

/** How to publish; all of it optional. */
export interface Options {
  /** From the call to the confirm, all waiting and publishing again included; `5 seconds` by default. */
  readonly confirmTimeout?: Duration.Input | undefined
  /** Messages written and not confirmed; 1000 by default. */
  readonly maxInFlight?: number | undefined
  /** Bytes of those, 16 MiB by default; a larger message goes alone. */
  readonly maxInFlightBytes?: number | undefined
  /**
   * Messages that may wait for a place when `whenFull` is not `wait`; 10,000 by default. Of a batch or a stream one waits
   * at a time, so that it has its turn and its deadline.
   */
  readonly maxWaiting?: number | undefined
  /**
   * What happens to a message that finds `maxWaiting` others waiting: `wait` (the default) waits within its deadline,
   * `fail` fails it with `Full`, `dropOldest` fails the one that has waited longest with `Full`.
   */
  readonly whenFull?: "wait" | "fail" | "dropOldest" | undefined
  /**
   * What happens to a message whose connection or channel went before its confirm came: `republish` (the default)
   * publishes it again until its deadline, `fail` fails it with `published: "unknown"`.
   */
  readonly unconfirmed?: "republish" | "fail" | undefined
  /**
   * When a message that the broker refused (`basic.nack`) is published again, on a fresh channel, within its deadline;
   * by default after 100 ms, doubling, 3 times. `Schedule.recurs(0)` fails it at once.
   */
  readonly retryNacked?: Schedule.Schedule<unknown> | undefined
  /** The largest body in bytes; 16 MiB by default, which is RabbitMQ's own limit since 4.0. */
  readonly maxMessageBytes?: number | undefined
  /**
   * Whether each message has a producer span by OpenTelemetry's messaging conventions, which travels with it in the
   * header `traceparent`; `false` by default, because a span costs time even if nobody exports it.
   */
  readonly tracing?: boolean | undefined
  /** How long the end of the scope waits for messages on their way; `5 seconds` by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * Make a publisher with a channel of its own, which is drained and closed when the scope ends. Waits for the channel,
 * and fails if the connection is finished, or with `InvalidConfiguration`.
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
  const limits = {
    maxInFlight: yield* count("maxInFlight", options.maxInFlight ?? 1000),
    maxInFlightBytes: yield* count("maxInFlightBytes", options.maxInFlightBytes ?? 16 * 1024 * 1024),
    maxWaiting: yield* count("maxWaiting", options.maxWaiting ?? 10_000)
  }

  const clock = yield* Clock.Clock
  // From 0 on, because a small number in each message needs no memory of its own.
  const epoch = Monotonic.millis(clock)
  const wakeLater = yield* WakeLater.make
  const runFork = yield* FiberSet.makeRuntime<never>()
  const idle = Latch.makeUnsafe(true)
  const metrics = new PublisherMetrics(yield* Effect.context<never>())
  let reporting = false
  const report = () => {
    if (reporting) return
    reporting = true
    wakeLater(() => {
      reporting = false
      metrics.flush(counts())
    })
  }

  const suspects = new Suspects()
  let isApartReady = false
  const laneOptions: PublishLane.LaneOptions = {
    connection,
    ...limits,
    whenFull: options.whenFull ?? "wait",
    unconfirmed: options.unconfirmed ?? "republish",
    confirmMillis: Duration.toMillis(confirmTimeout),
    retryNacked: options.retryNacked ?? Schedule.upTo(Schedule.exponential("100 millis"), { times: 3 }),
    suspects,
    metrics,
    now: () => Monotonic.millis(clock) - epoch,
    wakeLater,
    onChanged: report,
    onIdle() {
      if (isIdle()) idle.openUnsafe()
    },
    onFailed() {}
  }
  const usual = yield* PublishLane.make(laneOptions)
  // For messages like one that had a channel closed, so that they close no channel but their own.
  const apart = yield* PublishLane.make({
    ...laneOptions,
    onFailed() {
      isApartReady = false
    }
  })
  const queues = [usual.queue, apart.queue] as const
  const isIdle = () => queues.every((queue) => queue.isIdle)
  const counts = (): PublisherCounts => {
    const [one, other] = [usual.queue.counts(), apart.queue.counts()]
    return {
      waiting: one.waiting + other.waiting,
      inFlight: one.inFlight + other.inFlight,
      inFlightBytes: one.inFlightBytes + other.inFlightBytes
    }
  }
  // Its place among the finalizers is here, whenever it is opened: the drain may need it.
  const apartScope = yield* Scope.fork(yield* Effect.scope)
  const openApart = apart.open.pipe(
    Effect.andThen(Effect.sync(() => {
      isApartReady = true
    })),
    Scope.provide(apartScope),
    Effect.ignore
  )
  let isApartWanted = false
  const queueOf = (encoded: Encoded): PublishQueue => {
    if (suspects.isEmpty || !suspects.has(encoded)) return usual.queue
    if (!isApartWanted) {
      isApartWanted = true
      runFork(openApart)
    }
    return isApartReady ? apart.queue : usual.queue
  }
  const pipelineQueue: PipelineQueue = {
    submit: (encoded, onSettled, position, message) => queueOf(encoded).submit(encoded, onSettled, position, message),
    abandonAll: (isOwned) => queues.forEach((queue) => queue.abandonAll(isOwned)),
    onPumped(listener) {
      const stops = queues.map((queue) => queue.onPumped(listener))
      return () => stops.forEach((stop) => stop())
    }
  }
  yield* usual.open

  // After the channels', so that it runs before: they are closed when nothing is on its way any more.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      for (const queue of queues) queue.close()
      const left = counts()
      if (!isIdle()) {
        idle.closeUnsafe()
        yield* Effect.timeoutOption(idle.await, drainTimeout)
      }
      const { inFlight, waiting } = counts()
      for (const queue of queues) queue.finish("closed")
      if (left.waiting + left.inFlight > 0) {
        yield* Effect.logInfo("AMQP publisher drained", {
          settled: left.waiting + left.inFlight - waiting - inFlight,
          unknown: inFlight,
          unsent: waiting
        })
      }
    })
  )

  // Short, because a UUID in each message costs RabbitMQ a tenth of the messages that it can take.
  const prefix = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("base64url")
  let sequence = 0
  const messageId = () => prefix + (++sequence).toString(36)

  const refuse = (messageId: string | undefined, reason: PublishErrors.PublishErrorReason): PublishError => {
    metrics.failed++
    report()
    return new PublishError({ messageId, reason })
  }

  const prepare = (message: Message, headers?: Headers): Encoded | PublishError => {
    const encoded = encode(message, messageId, headers)
    if (encoded instanceof Refused) {
      const { detail, field } = encoded
      return refuse(
        message.messageId,
        field === "body"
          ? new PublishErrors.EncodeError({ published: "no", detail })
          : new PublishErrors.InvalidMessage({ published: "no", field, detail })
      )
    }
    const bytes = encoded.body.byteLength
    return bytes <= maxMessageBytes ? encoded : refuse(
      encoded.properties.messageId,
      new PublishErrors.TooLarge({ published: "no", bytes, limit: maxMessageBytes })
    )
  }

  const publishOne = (message: Message, headers?: Headers): Effect.Effect<void, PublishError> =>
    Effect.suspend(() => {
      const encoded = prepare(message, headers)
      if (encoded instanceof PublishError) return Effect.fail(encoded)
      const messageId = encoded.properties.messageId
      return Effect.callback<void, PublishError>((resume) => {
        const queue = queueOf(encoded)
        const entry = queue.submit(
          encoded,
          (_, outcome) =>
            wakeLater(() =>
              resume(
                outcome === undefined ? Effect.void : Effect.fail(new PublishError({ messageId, reason: outcome }))
              )
            ),
          0,
          message
        )
        return Effect.sync(() => queue.abandon(entry))
      })
    })

  const publish: AmqpPublisher["publish"] = options.tracing !== true
    ? (message) => publishOne(message)
    : (message) =>
      Effect.flatMap(
        ProducerSpan.begin(message),
        (span) =>
          Effect.onExit(publishOne(message, ProducerSpan.headers(message, span)), (exit) =>
            Effect.sync(() => ProducerSpan.end(span, clock, exit)))
      )

  /** Use a pipeline; whatever ends the use, nobody waits for its messages afterwards. */
  const withPipeline = <A, E, R>(
    inFlight: number | undefined,
    use: (pipeline: Pipeline) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> =>
    Effect.acquireUseRelease(
      Effect.map(Effect.orDie(count("inFlight", inFlight ?? limits.maxInFlight)), (window) => {
        const pipeline = new Pipeline(pipelineQueue, window, wakeLater)
        return { pipeline, end: pipeline.begin() }
      }),
      ({ pipeline }) => use(pipeline),
      ({ end, pipeline }, exit) =>
        Effect.sync(() => {
          end()
          if (Exit.isFailure(exit)) pipeline.abandon()
        })
    )

  /** Put messages into a pipeline as it has room for them. */
  const feed = Effect.fnUntraced(function*<E, R>(
    pipeline: Pipeline,
    messages: Iterable<Message>,
    onFailures: Effect.Effect<void, E, R>
  ): Effect.fn.Return<void, E, R> {
    for (const message of messages) {
      while (pipeline.isFull) {
        yield* pipeline.room
        if (pipeline.failures.length > 0) yield* onFailures
      }
      if (options.tracing === true) {
        const span = yield* ProducerSpan.begin(message)
        const encoded = prepare(message, ProducerSpan.headers(message, span))
        pipeline.push(message, encoded, (exit) => ProducerSpan.end(span, clock, exit))
      } else {
        pipeline.push(message, prepare(message))
      }
    }
    if (pipeline.failures.length > 0) yield* onFailures
  })

  const publishAll: AmqpPublisher["publishAll"] = (messages, batch) =>
    withPipeline(
      batch?.inFlight,
      (pipeline) =>
        Effect.acquireUseRelease(
          Effect.sync(() => messages[Symbol.iterator]()),
          (iterator) => feed(pipeline, { [Symbol.iterator]: () => iterator }, Effect.void),
          // A generator that is not read to its end has something to clean up.
          (iterator) => Effect.sync(() => void iterator.return?.())
        ).pipe(
          Effect.andThen(pipeline.settled),
          Effect.flatMap(() => {
            const [first, ...rest] = pipeline.failures.sort((one, other) => one.index - other.index)
            return first === undefined
              ? Effect.void
              : Effect.fail(new PublishErrors.BatchError({ confirmed: pipeline.confirmed, failures: [first, ...rest] }))
          })
        )
    )

  const sink = <E = PublishError, R = never>(
    stream: { readonly inFlight?: number | undefined; readonly onFailure?: OnFailure<E, R> | undefined } = {}
  ): Sink.Sink<number, Message, never, E, R> =>
    Sink.fromTransform((upstream) =>
      withPipeline(stream.inFlight, (pipeline) => {
        const onFailure = stream.onFailure ?? ((failure: PublishErrors.BatchFailure) => Effect.fail(failure.error as E))
        const onFailures = Semaphore.makeUnsafe(1).withPermit(Effect.suspend(() => {
          const failures = pipeline.failures
          pipeline.failures = []
          return Effect.forEach(failures, onFailure, { discard: true })
        }))
        const next = Pull.catchDone(upstream, () => Effect.succeed(undefined))
        const feedAll = Effect.gen(function*() {
          for (let messages = yield* next; messages !== undefined; messages = yield* next) {
            yield* feed(pipeline, messages, onFailures)
          }
          yield* pipeline.settled
          yield* onFailures
          return [pipeline.confirmed] as const
        })
        // Upstream may have nothing for long, and a failure is not to wait for its next message.
        return Effect.raceFirst(feedAll, Effect.forever(Effect.andThen(pipeline.failed, onFailures)))
      })
    )

  return AmqpPublisher.of({
    [TypeId]: TypeId,
    publish,
    publishAll,
    sink,
    counts: Effect.sync(counts)
  })
})

/**
 * A layer with a publisher of its own channel, drained in order when it is released. Building it fails as {@link make}
 * does.
 *
 * @example
 * ```ts
 * const Publishing = AmqpPublisher.layer({ confirmTimeout: "2 seconds" }).pipe(
 *   Layer.provide(AmqpTopology.layer(topology)),
 *   Layer.provide(AmqpConnection.layerConfig())
 * )
 * ```
 */
export const layer = (options?: Options): Layer.Layer<AmqpPublisher, AmqpError, AmqpConnection> =>
  Layer.effect(AmqpPublisher, make(options))

/**
 * Makes the layer of {@link layer} with options that are read from configuration: each option may be a `Config`, or all
 * of them one. Fails with `ConfigError` if one cannot be read.
 *
 * @example
 * ```ts
 * const Live = AmqpPublisher.layerConfig({
 *   confirmTimeout: Config.Duration("CONFIRM_TIMEOUT").pipe(Config.withDefault("5 seconds"))
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
