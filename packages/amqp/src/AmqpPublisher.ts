/**
 * Confirmed publishing: every publish ends, within a known time, in a broker confirm or in a typed failure.
 *
 * A publish succeeds when RabbitMQ confirmed it and did not return it: then every queue that it was routed to has it. A
 * message whose outcome became unknown, because the connection or the channel went, is published again on the next one
 * until its deadline, with the same `messageId`; so a message may arrive twice and none is lost that was confirmed.
 * Messages that were not published again keep the order in which they were submitted.
 *
 * @see https://www.rabbitmq.com/docs/confirms
 * @see https://www.rabbitmq.com/docs/publishers
 */
import * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Sink from "effect/Sink"
import { AmqpConnection } from "./AmqpConnection.ts"
import type { AmqpError } from "./AmqpError.ts"
import type { Headers, Message } from "./AmqpMessage.ts"
import * as AfterCallback from "./internal/afterCallback.ts"
import { allOrNothing } from "./internal/allOrNothing.ts"
import { Deadlines } from "./internal/deadlines.ts"
import * as Elapsed from "./internal/elapsed.ts"
import type { Encoded } from "./internal/encodeMessage.ts"
import { encode, Refused } from "./internal/encodeMessage.ts"
import { keep } from "./internal/liveChannel.ts"
import { bound, count } from "./internal/options.ts"
import { Pipeline } from "./internal/pipeline.ts"
import * as ProducerSpan from "./internal/producerSpan.ts"
import { PublisherMetrics } from "./internal/publisherMetrics.ts"
import type { Entry } from "./internal/publishQueue.ts"
import { PublishQueue } from "./internal/publishQueue.ts"
import * as ScheduleDelays from "./internal/scheduleDelays.ts"
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
   * that is too large for it. The publisher opens another. Messages like that one are then sent alone, for which others
   * wait a second at most, until RabbitMQ takes one of them: each fails, and takes no other with it.
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

// How long a channel that is to be replaced waits for what is in flight on it, where that would be published again.
const recycleMillis = 1000

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
  const confirmMillis = Duration.toMillis(confirmTimeout)
  // What would fail with the channel has its own deadline to wait for.
  const recycleWait = options.unconfirmed === "fail" ? confirmMillis : recycleMillis
  const retryNacked = options.retryNacked ??
    Schedule.upTo(Schedule.exponential("100 millis"), { times: 3 })

  const clock = yield* Clock.Clock
  // From 0 on, because a small number in each message needs no memory of its own.
  const epoch = Elapsed.millis(clock)
  const now = () => Elapsed.millis(clock) - epoch
  const afterCallback = yield* AfterCallback.make
  const runFork = yield* FiberSet.makeRuntime<never>()
  const idle = Latch.makeUnsafe(true)
  const metrics = new PublisherMetrics(yield* Effect.context<never>())
  let reporting = false
  const report = () => {
    if (reporting) return
    reporting = true
    afterCallback(() => {
      reporting = false
      metrics.flush(queue.counts())
    })
  }
  const nackSteps = new WeakMap<Entry, ScheduleDelays.NextDelay<unknown>>()
  let recycle = Deferred.makeUnsafe<void>()
  let drained = Deferred.makeUnsafe<void>()

  const rest = (entry: Entry): Effect.Effect<void> =>
    Effect.gen(function*() {
      let step = nackSteps.get(entry)
      if (step === undefined) {
        step = yield* ScheduleDelays.start(retryNacked)
        nackSteps.set(entry, step)
      }
      const delay = yield* step(clock.currentTimeMillisUnsafe(), undefined)
      if (delay === undefined) return queue.giveUp(entry)
      // Its deadline comes before that, and nothing is to hold it for longer.
      if (Duration.toMillis(delay) > entry.submittedAt + confirmMillis - now()) return
      yield* Effect.sleep(delay)
      queue.resume(entry)
    })

  const queue: PublishQueue = new PublishQueue({
    ...limits,
    whenFull: options.whenFull ?? "wait",
    unconfirmed: options.unconfirmed ?? "republish"
  }, {
    onConfirmed() {
      metrics.confirmed++
    },
    onLatency: (millis) => metrics.latency(millis),
    onFailed() {
      metrics.failed++
    },
    onReturned() {
      metrics.returned++
    },
    onNacked() {
      metrics.nacked++
    },
    onRepublished() {
      metrics.republished++
    },
    onResting(entry) {
      afterCallback(() => runFork(rest(entry)))
    },
    onRecycle() {
      const present = recycle
      afterCallback(() => Deferred.doneUnsafe(present, Effect.void))
    },
    onDrained() {
      const present = drained
      afterCallback(() => Deferred.doneUnsafe(present, Effect.void))
    },
    onHeldBack(millis) {
      runFork(Effect.andThen(Effect.sleep(millis), Effect.sync(() => queue.pump())))
    },
    onChanged: report,
    onBusy: () => deadlines.begin(),
    onIdle() {
      afterCallback(() => {
        // Somebody who was woken before may have submitted a message meanwhile.
        if (!queue.isIdle) return
        idle.openUnsafe()
        deadlines.rest()
      })
    }
  }, now)
  const deadlines = new Deadlines({
    oldest: () => queue.oldest,
    expireDue: () => queue.expire(confirmMillis),
    millis: confirmMillis,
    now
  })
  yield* Effect.forkScoped(deadlines.run)

  yield* keep(connection, {
    role: "publish",
    confirm: true,
    events() {
      recycle = Deferred.makeUnsafe()
      drained = Deferred.makeUnsafe()
      return {
        onConfirm: (tag, multiple, ack) => queue.confirm(tag, multiple, ack),
        onReturn: (returned) => queue.returned(returned),
        onDrain: () => queue.pump(),
        onClose: (error) => queue.detach(error)
      }
    },
    onOpen: Effect.fnUntraced(function*(channel, session) {
      const stop = session.onUnblocked(() => queue.pump())
      yield* Effect.addFinalizer(() => Effect.sync(stop))
      yield* Deferred.await(recycle).pipe(
        Effect.andThen(Effect.timeoutOption(Deferred.await(drained), recycleWait)),
        Effect.andThen(session.bounded("closeChannel", channel.close)),
        Effect.ignore,
        Effect.forkScoped
      )
      if (channel.isOpen()) queue.attach(channel, session)
    }),
    wasReplaced: () => queue.isReplaced,
    onFailed: (error) => queue.finish(error)
  })

  // After the channel's, so that it runs before: the channel is closed when nothing is on its way any more.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      queue.close()
      const left = queue.counts()
      if (!queue.isIdle) {
        idle.closeUnsafe()
        yield* Effect.timeoutOption(idle.await, drainTimeout)
      }
      const { inFlight, waiting } = queue.counts()
      queue.finish("closed")
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
        const entry = queue.submit(
          encoded,
          (_, outcome) =>
            afterCallback(() =>
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
        const pipeline = new Pipeline(queue, window, afterCallback)
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
    counts: Effect.sync(() => queue.counts())
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
 * {@link layer} with options that are read from configuration; fails with a `ConfigError` if they cannot be.
 *
 * @example
 * ```ts
 * const Live = AmqpPublisher.layerConfig(Config.all({
 *   confirmTimeout: Config.Duration("CONFIRM_TIMEOUT").pipe(Config.withDefault("5 seconds"))
 * }))
 * ```
 */
export const layerConfig = (
  options: Config.Config<Options>
): Layer.Layer<AmqpPublisher, AmqpError | Config.ConfigError, AmqpConnection> =>
  Layer.effect(AmqpPublisher, Effect.flatMap(options, make))
