/**
 * Supervised consumption: a handler for each message, or for each batch, whose outcome decides what the broker is told.
 *
 * A consumer comes back by itself after whatever takes it away from its queue: a lost connection, a channel that the
 * broker closed, a cancel because the queue was deleted or its node went down. What was not acknowledged by then is
 * delivered again, so no message is lost, and one may be handled more than once: handlers should not mind repetition.
 * An acknowledgement belongs to the channel that delivered its message, and is dropped when that is gone.
 *
 * When its scope ends, a consumer is drained: the broker is asked to stop, running handlers finish, their messages are
 * acknowledged, and what no handler has begun goes back to the queue.
 *
 * @see https://www.rabbitmq.com/docs/consumers
 * @see https://www.rabbitmq.com/docs/confirms
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConsumerHealth } from "./AmqpConnection.ts"
import { AmqpConnection } from "./AmqpConnection.ts"
import type { Delivery } from "./AmqpDelivery.ts"
import type { Arguments } from "./AmqpDriver.ts"
import type { AmqpError } from "./AmqpError.ts"
import type * as AmqpTopology from "./AmqpTopology.ts"
import { bound, count, invalid, positive } from "./internal/checkOptions.ts"
import type { Batch } from "./internal/consumer/batcher.ts"
import { Batcher } from "./internal/consumer/batcher.ts"
import type { Settlement } from "./internal/consumer/dispatcher.ts"
import type * as ConsumerMetrics from "./internal/consumer/metrics.ts"
import { withConsumerSpan } from "./internal/consumer/span.ts"
import * as DeliveryStream from "./internal/consumer/stream.ts"
import type { SubscriptionOptions } from "./internal/consumer/subscription.ts"
import type { Portions } from "./internal/consumer/worker.ts"
import { consume } from "./internal/consumer/worker.ts"

/** A queue to consume from, by its name or as a value of `AmqpTopology`. */
export type Source = string | AmqpTopology.Queue | AmqpTopology.ServerNamedQueue

/** A handler ran longer than `handlerTimeout` and was interrupted; its failure policy decides on the message. */
export class HandlerTimeout extends Data.TaggedError("HandlerTimeout")<{
  readonly queue: string
  readonly millis: number
}> {
  override get message(): string {
    return `the handler of a message of "${this.queue}" was not done after ${this.millis} ms`
  }
}

/** Try a message again later, see {@link retry}. */
export interface Retry {
  readonly _tag: "Retry"
  readonly schedule: Schedule.Schedule<unknown>
}

/**
 * What is to become of a message whose handler failed:
 *
 * - `deadLetter`: it is refused for good, and goes to the queue's dead letter exchange, or is dropped if it has none;
 * - `requeue`: it goes back into its queue at once, where it is soon delivered again, without a pause or an end;
 * - {@link retry}: it comes back later, and is parked when it has been tried often enough.
 */
export type FailureOutcome = "deadLetter" | "requeue" | Retry

/** What is to become of messages whose handler failed, the same for all or by the failure. */
export type FailurePolicy<E, Handled> =
  | FailureOutcome
  | ((error: E | HandlerTimeout, handled: Handled) => FailureOutcome)

/** How to ask the broker for messages. */
export interface SourceOptions {
  /**
   * Messages that the broker may have out to this consumer unacknowledged, 1 to 65535; by default 100, or twice what
   * can be handled at once if that is more.
   */
  readonly prefetch?: number | undefined
  /** Whether no other consumer may have the queue meanwhile; `false` by default. */
  readonly exclusive?: boolean | undefined
  /** Arguments of `basic.consume`, such as `x-priority` or `x-stream-offset`. */
  readonly arguments?: Arguments | undefined
}

/** What is the same for messages and for batches; all of it optional. */
export interface HandlingOptions<E, Handled> extends SourceOptions {
  /** What happens to a message whose handler failed with a typed error; `deadLetter` by default. */
  readonly onFailure?: FailurePolicy<E, Handled> | undefined
  /** How long a handler may run before it is interrupted and fails with {@link HandlerTimeout}; no limit by default. */
  readonly handlerTimeout?: Duration.Input | undefined
  /**
   * The broker's delivery acknowledgement timeout (its `consumer_timeout`, `30 minutes` by default, here too), after
   * which it takes the channel away from a consumer. At 80 % of it a warning is logged; `"Infinity"` if it has none.
   *
   * @see https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
   */
  readonly ackTimeout?: Duration.Input | undefined
  /**
   * Whether a message that has been out for 80 % of the `ackTimeout` also has its handler interrupted, if it has begun,
   * and is requeued, with a handler also what waits for one; `warn` by default.
   */
  readonly whenAckTimeout?: "warn" | "interrupt" | undefined
  /** How long the end of the scope waits for running handlers before it interrupts them; `30 seconds` by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * Whether each run of the handler gets a span, linked to the publisher's by the W3C `traceparent` header; `false` by
   * default, because a span costs time even if nobody exports it.
   */
  readonly tracing?: boolean | undefined
}

/** How to consume message by message; all of it optional. */
export interface Options<E> extends HandlingOptions<E, Delivery> {
  /** Handlers that may run at once; 1 by default, which keeps the order of the queue. */
  readonly concurrency?: number | undefined
  /** Messages with the same key are handled one by one, in their order, whatever the concurrency. */
  readonly orderedBy?: ((delivery: Delivery) => string) | undefined
}

/** How to consume in batches; all of it optional. */
export interface BatchOptions<E> extends HandlingOptions<E, NonEmptyReadonlyArray<Delivery>> {
  /** Messages of a full batch; 100 by default. */
  readonly size?: number | undefined
  /** How long the first message of a batch waits for it to become full; `1 second` by default. */
  readonly within?: Duration.Input | undefined
}

/** How many messages had which fate since the consumer was made. */
export interface ConsumerCounts extends ConsumerMetrics.ConsumerCounts {}

/** A consumer at work. */
export interface Consumer {
  /** Whether it gets what comes into its queue, since when, and if not, why. */
  readonly health: Effect.Effect<ConsumerHealth>
  readonly counts: Effect.Effect<ConsumerCounts>
  /**
   * Fails when the consumer cannot come back: with what the broker refuses it for, `NotFound` and `ResourceLocked` only
   * when that has lasted for three heartbeats, with `ReconnectAbandoned` when the connection gave up, and with
   * `ConnectionClosed` when that was closed.
   */
  readonly ended: Effect.Effect<never, AmqpError>
}

const maxPrefetch = 65535

/** The options of the broker's consumer, for a program that has `atOnce` messages in its hands at the same time. */
const subscriptionOptions = Effect.fnUntraced(function*(
  queue: Source,
  options: SourceOptions,
  atOnce: number
): Effect.fn.Return<SubscriptionOptions, AmqpError> {
  const prefetch = yield* count(
    "prefetch",
    options.prefetch ?? Math.min(Math.max(100, atOnce * 2), maxPrefetch),
    maxPrefetch
  )
  if (prefetch < atOnce) {
    return yield* invalid("prefetch", `it is ${prefetch}, and ${atOnce} messages would never be out at once`)
  }
  return { queue, prefetch, exclusive: options.exclusive === true, arguments: options.arguments ?? {} }
})

const settle = (delivery: Delivery, settlement: Exclude<Settlement, "delayed">): boolean =>
  settlement === "ack"
    ? delivery.ackSoonUnsafe()
    : delivery.nackUnsafe(false, settlement === "requeue")

const singly: Portions<Delivery> = {
  first: (delivery) => delivery,
  all: (delivery) => [delivery],
  settle: (delivery, settlement) => settle(delivery, settlement) ? 1 : 0,
  intake: (offer) => Effect.succeed({ offer, forget: () => 0 })
}

const inBatches = (size: number, within: Duration.Duration): Portions<Batch> => ({
  first: ([first]) => first,
  all: (batch) => batch,
  settle(batch, settlement) {
    const open = batch.filter((delivery) => !delivery.isSettled)
    // Batches are handled one by one and in order, so all before this one is settled.
    if (settlement === "ack" && open.at(-1)?.ackUnsafe(true) === true) return open.length
    return open.filter((delivery) => settle(delivery, settlement)).length
  },
  intake: (onBatch) =>
    Effect.map(FiberSet.makeRuntime<never>(), (runFork) =>
      new Batcher({
        size,
        onBatch,
        startWindow(onOver) {
          const fiber = runFork(Effect.andThen(Effect.sleep(within), Effect.sync(onOver)))
          return () => fiber.interruptUnsafe()
        }
      }))
})

/** What handlers find, but for the scope that each has for itself. */
type HandlerContext<R> = Context.Context<Exclude<R, Scope.Scope>>

/** What is the same for messages and for batches. */
const start = Effect.fnUntraced(function*<Handled, E, R>(
  queue: Source,
  handler: (handled: Handled) => Effect.Effect<unknown, E, R>,
  options: HandlingOptions<E, Handled>,
  how: {
    readonly atOnce: number
    readonly portions: Portions<Handled>
    readonly concurrency: number
    readonly orderedBy: ((handled: Handled) => string) | undefined
    readonly context: HandlerContext<R>
  }
): Effect.fn.Return<Consumer, AmqpError, AmqpConnection | Scope.Scope> {
  const { context, portions } = how
  const handlerTimeout = options.handlerTimeout === undefined
    ? undefined
    : yield* bound("handlerTimeout", options.handlerTimeout)
  let handle = (handled: Handled): Effect.Effect<unknown, E | HandlerTimeout, Exclude<R, Scope.Scope>> =>
    Effect.scoped(handler(handled))
  if (handlerTimeout !== undefined) {
    const inTime = handle
    handle = (handled) =>
      Effect.timeoutOrElse(inTime(handled), {
        duration: handlerTimeout,
        orElse: () =>
          Effect.fail(
            new HandlerTimeout({ queue: portions.first(handled).queue, millis: Duration.toMillis(handlerTimeout) })
          )
      })
  }
  if (options.tracing === true) {
    const traced = handle
    handle = (handled) => withConsumerSpan(traced(handled), portions.all(handled))
  }
  const consumption = yield* consume({
    ...(yield* subscriptionOptions(queue, options, how.atOnce)),
    portions,
    concurrency: how.concurrency,
    orderedBy: how.orderedBy,
    handler: handle,
    context,
    onFailure: options.onFailure ?? "deadLetter",
    ackTimeout: yield* positive("ackTimeout", options.ackTimeout ?? "30 minutes"),
    whenAckTimeout: options.whenAckTimeout ?? "warn",
    drainTimeout: yield* bound("drainTimeout", options.drainTimeout ?? "30 seconds")
  })
  return {
    health: Effect.sync(consumption.health),
    counts: Effect.sync(consumption.counts),
    ended: consumption.ended
  }
})

const startSingly = Effect.fnUntraced(function*<E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<E>,
  context: HandlerContext<R>
): Effect.fn.Return<Consumer, AmqpError, AmqpConnection | Scope.Scope> {
  const concurrency = yield* count("concurrency", options.concurrency ?? 1, maxPrefetch)
  return yield* start(queue, handler, options, {
    atOnce: concurrency,
    portions: singly,
    concurrency,
    orderedBy: options.orderedBy,
    context
  })
})

/**
 * Make a consumer that is drained when the scope ends. Returns when the broker has it, and fails if the broker refuses
 * it: with `NotFound` if there is no such queue, with `AccessRefused` without the permission to read it, with
 * `ResourceLocked` if another has kept it for itself for three heartbeats; or with `InvalidConfiguration`.
 *
 * Each handler has a scope of its own, which ends with it. A message is acknowledged when its handler has succeeded and
 * released what it acquired. When that fails with a typed error, `onFailure` decides. When it dies, the message is
 * dead-lettered and the defect logged. When it is interrupted, the message is requeued; if it had interrupted itself and
 * the message was `redelivered` already, that is dead-lettered.
 */
export const make = <E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<E> = {}
): Effect.Effect<Consumer, AmqpError, AmqpConnection | Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.contextWith((context: HandlerContext<R>) => startSingly(queue, handler, options, context))

/**
 * Consume until interrupted, and drain then; otherwise as {@link make}. Fails when the consumer cannot come back, as
 * `Consumer.ended` does.
 *
 * @example
 * ```ts
 * AmqpConsumer.run(invoices, (delivery) => Effect.flatMap(delivery.json(Order), Invoices.create), { concurrency: 10 })
 * ```
 */
export const run = <E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<E> = {}
): Effect.Effect<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: HandlerContext<R>) =>
    Effect.scoped(Effect.flatMap(startSingly(queue, handler, options, context), (consumer) => consumer.ended))
  )

/**
 * A layer that consumes from when it is built until it is released, and drains then. Building it fails as {@link make}
 * does. A consumer that cannot come back later says so in the log and in the connection's health; use {@link run} for
 * a program that is to end with it.
 *
 * @example
 * ```ts
 * const InvoiceWorker = AmqpConsumer.layer(
 *   invoices,
 *   Effect.fnUntraced(function*(delivery) {
 *     yield* Invoices.create(yield* delivery.json(Order))
 *   }),
 *   {
 *     concurrency: 10,
 *     onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
 *   }
 * )
 * ```
 */
export const layer = <E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<E> = {}
): Layer.Layer<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(make(queue, handler, options))

/**
 * Consume in batches, one by one and in order, until interrupted, and drain then; otherwise as {@link run}. The
 * messages of a batch come from one channel and share the outcome of their handler, but for those that it has settled
 * by itself; with {@link retry} each is delayed, or requeued, as it goes with its own copy.
 *
 * @example
 * ```ts
 * AmqpConsumer.runBatch(readings, (batch) => Database.insertMany(batch), { size: 500, within: "200 millis" })
 * ```
 */
export const runBatch = <E, R>(
  queue: Source,
  handler: (batch: NonEmptyReadonlyArray<Delivery>) => Effect.Effect<unknown, E, R>,
  options: BatchOptions<E> = {}
): Effect.Effect<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: HandlerContext<R>) =>
    Effect.scoped(Effect.gen(function*() {
      const size = yield* count("size", options.size ?? 100, maxPrefetch)
      const within = yield* bound("within", options.within ?? "1 second")
      const consumer = yield* start<NonEmptyReadonlyArray<Delivery>, E, R>(queue, handler, options, {
        atOnce: size,
        portions: inBatches(size, within),
        concurrency: 1,
        orderedBy: undefined,
        context
      })
      return yield* consumer.ended
    }))
  )

/**
 * The messages of a queue as a stream, to be acknowledged by whoever reads it: `ack`, `nack` or `reject` each delivery,
 * or nothing more comes when `prefetch` of them are out. Fails when the consumer cannot come back.
 *
 * Deliveries whose channel is gone are left out as long as the stream has not emitted them. What is not acknowledged
 * when the stream ends goes back to the queue, also what is being worked on: {@link run} drains, a stream does not.
 *
 * @example
 * ```ts
 * AmqpConsumer.stream(invoices, { prefetch: 10 }).pipe(
 *   Stream.mapEffect((delivery) => Effect.andThen(handle(delivery), delivery.ack()))
 * )
 * ```
 */
export const stream = (
  queue: Source,
  options: SourceOptions = {}
): Stream.Stream<Delivery, AmqpError, AmqpConnection> =>
  Stream.unwrap(Effect.gen(function*() {
    const connection = yield* AmqpConnection
    return yield* DeliveryStream.make(connection, yield* subscriptionOptions(queue, options, 1))
  }))

/**
 * The failure policy of trying again after the delays of a schedule, and of parking what failed once more after that.
 *
 * For a queue `invoices`, a message waits in `invoices.retry.<milliseconds>`, one queue for each distinct delay of the
 * schedule, which RabbitMQ dead-letters back to `invoices`; in the end it goes to `invoices.parked`, where nothing
 * takes it away. These queues are declared before the consumer starts, or when a policy that is a function first
 * returns this: durable if `invoices` is, and quorum queues if it was given as one. They are never deleted.
 *
 * What waits is a copy with the same body, message id and other properties, its number in the header `x-retry-attempt`
 * with the queue that it counts for in `x-retry-queue`, and where it was first published in others, so that a delivery
 * shows the original exchange and routing key. Its `expiration` is left out, and so is its `CC` header, by which the
 * broker would route the copy to other queues too; one without a content type or a message id gets one.
 *
 * The copy is confirmed before the original is acknowledged. If it cannot be published, the original is requeued after
 * a second, which a quorum queue counts against its delivery limit; a wait queue that is gone is declared again then. If
 * it never could be published, because its headers have no room for more or hold what cannot be sent, the original is
 * dead-lettered, and that is logged. A message that its handler has settled by itself, or whose channel is gone, so that
 * it comes again, is not copied.
 *
 * The schedule must end, within 100 delays of up to 49 days; `Schedule.jittered` has no effect on it. A server-named
 * queue cannot have this policy.
 *
 * @see https://www.rabbitmq.com/docs/ttl
 * @see https://www.rabbitmq.com/docs/dlx
 */
export const retry = (schedule: Schedule.Schedule<unknown>): Retry => ({ _tag: "Retry", schedule })
