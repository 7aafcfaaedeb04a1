/**
 * Supervised consumers: a handler for each message, or for each batch, whose outcome decides what the broker is told.
 *
 * A consumer comes back by itself after whatever takes it away from its queue: a lost connection, a channel that the
 * broker closed, a cancel because the queue was deleted or its node went down. Unacknowledged messages are
 * delivered again, so that no message is lost and one may be handled more than once: make handlers idempotent. An
 * acknowledgement belongs to the channel that delivered its message, and is dropped when that channel is gone.
 *
 * Handled messages are acknowledged together: at once where none was lately, else when a quarter of the prefetch has been
 * handled, or after 5 milliseconds. No message is among them whose handler has not succeeded.
 *
 * When its scope ends, a consumer is drained: the broker is asked to stop, running handlers finish, their messages are
 * acknowledged, and what no handler has begun goes back to the queue.
 *
 * @see https://www.rabbitmq.com/docs/consumers
 * @see https://www.rabbitmq.com/docs/confirms
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConsumerHealth } from "./AmqpConnection.ts"
import type { Delivery } from "./AmqpDelivery.ts"
import type { AmqpError } from "./AmqpError.ts"
import type * as AmqpTopology from "./AmqpTopology.ts"
import { bound } from "./internal/checkOptions.ts"
import { AmqpConnection } from "./internal/connection/service.ts"
import { HandlerDecision } from "./internal/consumer/decision.ts"
import { topologyOf } from "./internal/consumer/delayedRetry.ts"
import type * as ConsumerMetrics from "./internal/consumer/metrics.ts"
import type { BatchOptions, Options, Retry, Source, SourceOptions } from "./internal/consumer/options.ts"
import { atOnce, resolveSource } from "./internal/consumer/options.ts"
import type { BatchOutcomes } from "./internal/consumer/outcomes.ts"
import { fromExits } from "./internal/consumer/outcomes.ts"
import { inBatches, singly } from "./internal/consumer/portions.ts"
import type { RetryOptions } from "./internal/consumer/retryQueues.ts"
import * as Routing from "./internal/consumer/routing.ts"
import * as DeliveryStream from "./internal/consumer/stream.ts"
import type { HandlerContext, Worker } from "./internal/consumer/worker.ts"
import * as ConsumerWorker from "./internal/consumer/worker.ts"

export { HandlerDecision } from "./internal/consumer/decision.ts"
export { HandlerTimeout } from "./internal/consumer/errors.ts"
export type {
  BatchOptions,
  FailureOutcome,
  FailurePolicy,
  HandlingOptions,
  Options,
  Retry,
  Source,
  SourceOptions
} from "./internal/consumer/options.ts"
export type { BatchOutcomes } from "./internal/consumer/outcomes.ts"
export type { RetryOptions } from "./internal/consumer/retryQueues.ts"
export type { Handlers, HandlersContext, HandlersError, Routed } from "./internal/consumer/routing.ts"
export { UnroutedDelivery } from "./internal/consumer/routing.ts"

/**
 * Counts of messages by their fate, since the consumer was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConsumerCounts extends ConsumerMetrics.ConsumerCounts {}

/**
 * A consumer at work.
 *
 * @category models
 * @since 0.1.0
 */
export interface Consumer {
  /** Says that the consumer is attached to its queue, since when and on which session; or why it is detached. */
  readonly health: Effect.Effect<ConsumerHealth>
  /** Counts messages by their fate. */
  readonly counts: Effect.Effect<ConsumerCounts>
  /**
   * Fails when the consumer cannot come back: with what the broker refuses it for, `ResourceLocked` only when that has
   * lasted for three heartbeats and `NotFound` only after the `missingQueueTimeout`; with `ReconnectAbandoned` when the
   * connection gave up, and with `ConnectionClosed` when that was closed.
   */
  readonly ended: Effect.Effect<never, AmqpError>
  /**
   * Stops the deliveries and gives back what no handler has begun; running handlers go on. Returns when the broker has
   * stopped; with `keepOrder` when the running handlers are done too. The health is `Paused` then.
   */
  readonly pause: Effect.Effect<void>
  /** Lets deliveries come again after {@link Consumer.pause}. */
  readonly resume: Effect.Effect<void>
}

const consumerOf = (worker: Worker): Consumer => ({
  health: Effect.sync(worker.health),
  counts: Effect.sync(worker.counts),
  ended: worker.ended,
  pause: worker.pause,
  resume: worker.resume
})

const startSingly = Effect.fnUntraced(function*<E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>>,
  context: HandlerContext<R>
): Effect.fn.Return<Consumer, AmqpError, AmqpConnection | Scope.Scope> {
  const concurrency = yield* atOnce("concurrency", options.concurrency ?? 1)
  return consumerOf(
    yield* ConsumerWorker.start<Delivery, E, R>({
      queue,
      handler,
      options,
      portions: singly,
      atOnce: concurrency,
      concurrency,
      orderedBy: options.orderedBy,
      context
    })
  )
})

/**
 * Makes a consumer that is drained when the scope ends. Returns when the broker has the consumer. Fails with what the
 * broker refuses it for: `NotFound` if there is no such queue, `AccessRefused` without the permission to read it,
 * `ResourceLocked` if another consumer has kept the queue for itself for three heartbeats. Fails with
 * `InvalidConfiguration` if an option is out of its range.
 *
 * Each handler has a scope of its own, which ends with it. A message is acknowledged when its handler has succeeded and
 * has released what it acquired. When its handler fails with a typed error, `onFailure` decides. When its handler dies,
 * the message is dead-lettered and the defect is logged. When the library interrupts its handler, the message is given
 * back. When its handler interrupts itself, the message is requeued, and dead-lettered if it was `redelivered`. A
 * handler decides by itself with {@link giveBack}, {@link deadLetter} and {@link drop}.
 *
 * A message that is refused where no dead letter exchange keeps it is dropped: the log says so when the consumer
 * attaches and at each drop, with the message's id, and the counts have it as `dropped`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>> = {}
): Effect.Effect<Consumer, AmqpError, AmqpConnection | Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.contextWith((context: HandlerContext<R>) => startSingly(queue, handler, options, context))

/**
 * Consumes until interrupted, and drains then; otherwise as {@link make}. Fails when the consumer cannot come back, as
 * `Consumer.ended` does.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { AmqpConsumer, AmqpTopology } from "effect-amqp"
 *
 * const Order = Schema.Struct({ id: Schema.Number })
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 *
 * const program = AmqpConsumer.run(
 *   invoices,
 *   (delivery) => Effect.flatMap(delivery.json(Order), (order) => Effect.log(`order ${order.id}`)),
 *   { concurrency: 10 }
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = <E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>> = {}
): Effect.Effect<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: HandlerContext<R>) =>
    Effect.scoped(Effect.flatMap(startSingly(queue, handler, options, context), (consumer) => consumer.ended))
  )

/**
 * Makes a layer that consumes from when it is built until it is released, and drains then. Building fails as {@link
 * make} does. A consumer that cannot come back later says so in the log and in the connection's health; use {@link run}
 * for a program that is to end with its consumer.
 *
 * @example
 * ```ts
 * import { Effect, Schedule, Schema } from "effect"
 * import { AmqpConsumer, AmqpTopology } from "effect-amqp"
 *
 * const Order = Schema.Struct({ id: Schema.Number })
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 *
 * const InvoiceWorker = AmqpConsumer.layer(
 *   invoices,
 *   Effect.fnUntraced(function*(delivery) {
 *     const order = yield* delivery.json(Order)
 *     yield* Effect.log(`invoice for order ${order.id}`)
 *   }),
 *   {
 *     concurrency: 10,
 *     onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
 *   }
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>> = {}
): Layer.Layer<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(make(queue, handler, options))

/**
 * Makes the {@link layer} of options that are read from configuration; building fails with a `ConfigError` if they
 * cannot be read.
 *
 * @example
 * ```ts
 * import { Config, Effect } from "effect"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const InvoiceWorker = AmqpConsumer.layerConfig("invoices", (delivery) => Effect.flatMap(delivery.text, Effect.log), {
 *   concurrency: Config.withDefault(Config.Int("INVOICE_CONCURRENCY"), 10),
 *   onFailure: Config.succeed("requeue")
 * })
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = <E, R>(
  queue: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Config.Wrap<Options<Exclude<E, HandlerDecision>>>
): Layer.Layer<never, AmqpError | Config.ConfigError, AmqpConnection | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(Effect.flatMap(Config.unwrap(options), (options) => make(queue, handler, options)))

/**
 * The errors that the outcomes of a batch hold.
 *
 * @category models
 * @since 0.2.0
 */
export type FailureOf<A> = A extends BatchOutcomes<infer E> ? E : never

/**
 * Consumes in batches, one by one and in order, until interrupted, and drains then; otherwise as {@link run}. The
 * messages of a batch come from one channel and share the fate of the batch, except those that the handler settled by
 * itself; with {@link retry} each message is delayed, or requeued, as it goes with its own copy. A handler that
 * succeeds with {@link outcomes} gives each message a fate of its own, so that one bad message of ten costs one; {@link
 * each} makes a batch handler from a handler of single messages.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const program = AmqpConsumer.runBatch(
 *   "readings",
 *   (deliveries) => Effect.log(`one insert for ${deliveries.length} readings`),
 *   { size: 500, within: "200 millis" }
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const runBatch = <A, E, R>(
  queue: Source,
  handler: (batch: NonEmptyReadonlyArray<Delivery>) => Effect.Effect<A, E, R>,
  options: BatchOptions<Exclude<E | FailureOf<A>, HandlerDecision>> = {}
): Effect.Effect<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: HandlerContext<R>) =>
    Effect.scoped(Effect.gen(function*() {
      const size = yield* atOnce("size", options.size ?? 100)
      const within = yield* bound("within", options.within ?? "1 second")
      const worker = yield* ConsumerWorker.start<NonEmptyReadonlyArray<Delivery>, E | FailureOf<A>, R>({
        queue,
        handler,
        options,
        portions: inBatches(size, within),
        atOnce: size,
        concurrency: 1,
        orderedBy: undefined,
        context
      })
      return yield* worker.ended
    }))
  )

/**
 * Collects the outcomes of the messages of a batch, for the handler of {@link runBatch} to succeed with. What failed
 * goes to the failure policy by itself; what succeeded, and what is not mentioned, is acknowledged.
 *
 * @example
 * ```ts
 * import { Array, Effect, Exit } from "effect"
 * import type { AmqpDelivery } from "effect-amqp"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const insertEach = (deliveries: ReadonlyArray<AmqpDelivery.Delivery>) =>
 *   Effect.succeed(deliveries.map(() => Exit.void)) // what the database says of each row
 *
 * const program = AmqpConsumer.runBatch(
 *   "readings",
 *   (deliveries) => Effect.map(insertEach(deliveries), (exits) => AmqpConsumer.outcomes(Array.zip(deliveries, exits)))
 * )
 * ```
 *
 * @category batches
 * @since 0.2.0
 */
export const outcomes: <E>(
  exits: Iterable<readonly [delivery: Delivery, exit: Exit.Exit<unknown, E>]>
) => BatchOutcomes<E> = fromExits

/**
 * Makes the handler of a batch of one for single messages, with an outcome for each message. `concurrency` bounds the
 * messages that are handled at once; it defaults to 1.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const program = AmqpConsumer.runBatch(
 *   "readings",
 *   AmqpConsumer.each((delivery) => Effect.flatMap(delivery.text, Effect.log), { concurrency: 10 })
 * )
 * ```
 *
 * @category batches
 * @since 0.2.0
 */
export const each = <E, R>(
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: { readonly concurrency?: number | "unbounded" | undefined } = {}
) =>
(batch: NonEmptyReadonlyArray<Delivery>): Effect.Effect<BatchOutcomes<E>, never, R> =>
  Effect.map(
    Effect.forEach(
      batch,
      (delivery) => Effect.map(Effect.exit(handler(delivery)), (exit) => [delivery, exit] as const),
      { concurrency: options.concurrency ?? 1 }
    ),
    outcomes
  )

/**
 * Ends a handler and gives its message back to the queue on purpose: counted as `givenBack`, without a warning and
 * without asking the failure policy. Quorum queues before RabbitMQ 4.3 count it against their delivery limit.
 *
 * @example
 * ```ts
 * import { Effect, Ref } from "effect"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const isInMaintenance = Ref.makeUnsafe(false)
 *
 * const Worker = AmqpConsumer.layer(
 *   "invoices",
 *   Effect.fnUntraced(function*(delivery) {
 *     if (yield* Ref.get(isInMaintenance)) return yield* AmqpConsumer.giveBack
 *     yield* Effect.log(yield* delivery.text)
 *   })
 * )
 * ```
 *
 * @category decisions
 * @since 0.2.0
 */
export const giveBack: Effect.Effect<never, HandlerDecision> = Effect.fail(new HandlerDecision({ fate: "giveBack" }))

/**
 * Ends a handler and dead-letters its message on purpose: counted as `deadLettered`, without asking the failure policy,
 * and without a warning where the queue has a dead letter exchange.
 *
 * @category decisions
 * @since 0.2.0
 */
export const deadLetter: Effect.Effect<never, HandlerDecision> = Effect.fail(
  new HandlerDecision({ fate: "deadLetter" })
)

/**
 * Ends a handler and refuses its message for good on purpose, also where no dead letter exchange keeps it: counted as
 * `dropped`, without a warning and without asking the failure policy.
 *
 * @category decisions
 * @since 0.2.0
 */
export const drop: Effect.Effect<never, HandlerDecision> = Effect.fail(new HandlerDecision({ fate: "drop" }))

/**
 * Makes one handler of several, by the property `type` of a message: `"order.paid"`. A message of another type, or of
 * none, fails with {@link UnroutedDelivery}, which is refused and not tried again. `AmqpContract` also decodes.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const Order = Schema.Struct({ id: Schema.Number })
 *
 * const Worker = AmqpConsumer.layer(
 *   "invoices",
 *   AmqpConsumer.byType({
 *     "order.paid": (delivery) => Effect.flatMap(delivery.json(Order), ({ id }) => Effect.log(`${id} is paid`)),
 *     "order.cancelled": (delivery) =>
 *       Effect.flatMap(delivery.json(Order), ({ id }) => Effect.log(`${id} is cancelled`))
 *   })
 * )
 * ```
 *
 * @category routing
 * @since 0.2.0
 */
export const byType: <H extends Routing.Handlers<unknown, unknown>>(handlers: H) => Routing.Routed<H> = Routing.byType

/**
 * Makes one handler of several, by patterns of the routing key that a message was first published with, as a topic
 * exchange has them: `*` is one word and `#` any number of words. The first pattern that matches, in the order in which
 * they are written, has the message; `"#"` at the end takes the rest. Otherwise as {@link byType}.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const Worker = AmqpConsumer.layer(
 *   "invoices",
 *   AmqpConsumer.byRoutingKey({
 *     "order.*.paid": (delivery) => Effect.flatMap(delivery.text, Effect.log),
 *     "order.#": (delivery) => Effect.logDebug(delivery.routingKey)
 *   })
 * )
 * ```
 *
 * @category routing
 * @since 0.2.0
 */
export const byRoutingKey: <H extends Routing.Handlers<unknown, unknown>>(handlers: H) => Routing.Routed<H> =
  Routing.byRoutingKey

/**
 * Streams the messages of a queue, which the reader of the stream acknowledges: `ack`, `nack` or `reject` each
 * delivery, because nothing more comes when `prefetch` of them are out. Fails when the consumer cannot come back.
 *
 * Deliveries whose channel is gone are left out as long as the stream has not emitted them. What is not acknowledged
 * when the stream ends goes back to the queue, also what is being worked on: {@link run} drains, a stream does not. Set
 * the `prefetch` to what the reader of a quorum queue works on at once, because the default may be 1.
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { AmqpConsumer } from "effect-amqp"
 *
 * const program = AmqpConsumer.stream("invoices", { prefetch: 10 }).pipe(
 *   Stream.mapEffect((delivery) => Effect.andThen(Effect.flatMap(delivery.text, Effect.log), delivery.ack())),
 *   Stream.runDrain
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = (
  queue: Source,
  options: SourceOptions = {}
): Stream.Stream<Delivery, AmqpError, AmqpConnection> =>
  Stream.unwrap(Effect.gen(function*() {
    const connection = yield* AmqpConnection
    const { stream } = yield* DeliveryStream.make(connection, yield* resolveSource(queue, options, 1))
    return stream
  }))

/**
 * Makes the failure policy of trying again after the delays of a schedule, and of parking what failed once more after
 * that.
 *
 * For a queue `invoices`, a message waits in `invoices.retry.<milliseconds>`, one queue for each distinct delay of the
 * schedule, which RabbitMQ dead-letters back to `invoices`; in the end the message goes to `invoices.parked`, where
 * nothing takes it away. These queues are declared before the consumer starts, or when a policy that is a function
 * first returns this: durable if `invoices` is, and quorum queues if it was given as one. They are never deleted.
 * Queues that are there with other arguments are used where they do the job, also by a user without the permission to
 * configure; one with another delay or another way back fails with `TopologyMismatch`. A parked quorum queue has no
 * delivery limit since RabbitMQ 4.0, where each look at a message counts as one.
 *
 * Messages in a quorum wait queue may come late after a restart of the broker: RabbitMQ tries to forward them before
 * their queue has a leader, and again after `dead_letter_worker_publisher_confirm_timeout` (180,000 ms by default; set
 * it in RabbitMQ's `advanced.config`). None is lost.
 *
 * What waits is a copy with the same body, message id and other properties. Headers tell its number
 * (`x-retry-attempt`), the queue that the number counts for (`x-retry-queue`), and where the message was first
 * published, so that a delivery shows the original exchange and routing key. What is parked also says why:
 * `x-parked-error` and `x-parked-reason` (the tag and the text of the last error, cut at 1 KiB), `x-parked-attempts`,
 * `x-parked-at` and `x-parked-by`. The copy has no `expiration`, and no `CC` header, by which the broker would route it
 * to other queues too; a copy without a content type or a message id gets one.
 *
 * The copy is confirmed before the original is acknowledged. If the copy cannot be published, the original is requeued
 * after a second, which a quorum queue counts against its delivery limit; a wait queue that is gone is declared again
 * then. If the copy can never be published, because its headers have no room for more or hold what cannot be sent, the
 * original is dead-lettered, and that is logged. A message that its handler has settled by itself, or whose channel is
 * gone, so that it comes again, is not copied.
 *
 * The schedule must end, within 100 delays of up to 49 days; `Schedule.jittered` has no effect on it. A server-named
 * queue cannot have this policy.
 *
 * @see https://www.rabbitmq.com/docs/ttl
 * @see https://www.rabbitmq.com/docs/dlx
 * @category failure policies
 * @since 0.1.0
 */
export const retry = (schedule: Schedule.Schedule<unknown>, options: RetryOptions = {}): Retry => ({
  _tag: "Retry",
  schedule,
  ...options
})

/**
 * Makes the topology that {@link retry} needs for a queue: for an operator who declares what a user without the
 * permission to configure may use, or to bind and to look at. A parking queue has its delivery limit added when
 * RabbitMQ 4.0 or later is there.
 *
 * Throws an `AmqpError` with `InvalidConfiguration` if the schedule does not end, has too long a delay, or needs a
 * service.
 *
 * @example
 * ```ts
 * import { Schedule } from "effect"
 * import { AmqpConsumer, AmqpTopology } from "effect-amqp"
 *
 * const schedule = Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 }))
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 * const topology = AmqpTopology.make(invoices, AmqpConsumer.retryTopology(invoices, schedule))
 * ```
 * @category failure policies
 * @since 0.2.0
 */
export const retryTopology = (
  queue: string | AmqpTopology.Queue,
  schedule: Schedule.Schedule<unknown>,
  options: RetryOptions = {}
): AmqpTopology.Topology => topologyOf(queue, retry(schedule, options))
