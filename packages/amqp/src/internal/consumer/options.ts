/**
 * The options of consumers, checked and with their defaults.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { Arguments } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { bound, count, invalid, positive } from "../checkOptions.ts"
import type { QueueLike } from "../connection/queueName.ts"
import { labelOf } from "../connection/queueName.ts"
import type { AttachmentOptions } from "./attachment.ts"
import { acknowledgesStreams } from "./attachment.ts"
import type { HandlerTimeout } from "./errors.ts"
import { checkReading } from "./offset.ts"
import type { RetryOptions } from "./retryQueues.ts"
import { traitsOf } from "./traits.ts"

/**
 * A queue to consume from, by its name or as a value of `AmqpTopology`.
 *
 * @category models
 * @since 0.1.0
 */
export type Source = QueueLike

/**
 * Tries a message again later, see `AmqpConsumer.retry`.
 *
 * @category failure policies
 * @since 0.1.0
 */
export interface Retry extends RetryOptions {
  readonly _tag: "Retry"
  readonly schedule: Schedule.Schedule<unknown>
}

/**
 * The fate of a message whose handler failed:
 *
 * - `deadLetter`: the message is refused for good; it goes to the queue's dead letter exchange, or is dropped if the
 *   queue has none;
 * - `drop`: the message is refused for good, and it is meant to be lost where no dead letter exchange keeps it;
 * - `requeue`: the message goes back into its queue at once as a failed delivery, which quorum queues count against their
 *   delivery limit; it is soon delivered again, without a pause, and from a classic queue without an end;
 * - `giveBack`: the message goes back into its queue at once as if nothing had failed; quorum queues of RabbitMQ 4.3 do
 *   not count that, earlier ones do;
 * - `retry` of a schedule: the message comes back later, and is parked when it was tried often enough.
 *
 * @category failure policies
 * @since 0.1.0
 */
export type FailureOutcome = "deadLetter" | "drop" | "requeue" | "giveBack" | Retry

/**
 * The fate of messages whose handler failed, the same for all or by the failure.
 *
 * @category failure policies
 * @since 0.1.0
 */
export type FailurePolicy<E, Handled> =
  | FailureOutcome
  | ((error: E | HandlerTimeout, handled: Handled) => FailureOutcome)

/**
 * How to ask the broker for messages.
 *
 * @category options
 * @since 0.1.0
 */
export interface SourceOptions {
  /**
   * Messages that the broker may have out to this consumer unacknowledged, from 1 to 65535.
   *
   * Defaults to 100, or to twice what can be handled at once if that is more. Where a message that is only prefetched
   * counts as a failed delivery when its consumer goes, the default is what can be handled at once (for a stream of
   * deliveries 1): for quorum queues with a delivery limit before RabbitMQ 4.3, which limits them to 20 unless told
   * otherwise, for queues by name there, because they may be quorum queues, and with `keepOrder` on a quorum queue.
   * Give the queue as a value with its type, so that a classic queue has the larger default. There each message waits for
   * the acknowledgement of another to be written, which handlers of less than some 10 ms notice.
   */
  readonly prefetch?: number | undefined
  /**
   * Refuses other consumers of the queue. `"standby"` waits, when another consumer has the queue for itself, until it is
   * gone: making the consumer succeeds meanwhile, and its health is `Detached` with `ResourceLocked`. Defaults to `false`.
   */
  readonly exclusive?: boolean | "standby" | undefined
  /**
   * Arguments of `basic.consume`, such as `x-priority` or `x-stream-offset`; an effect is asked at each attach, so that a
   * reader of a stream goes on where it was. Defaults to none.
   */
  readonly arguments?: Arguments | Effect.Effect<Arguments, AmqpError> | undefined
  /** The name of the consumer at the broker, unlike any other of its channel. Defaults to a name of its own each time. */
  readonly consumerTag?: string | undefined
  /**
   * Keeps the order of the queue through an orderly stop: running handlers finish and are acknowledged, and the channel is
   * closed without a cancel, so that no other consumer gets newer messages before older ones are back. Defaults to `true`
   * for a queue value with a single active consumer, else to `false`.
   *
   * @see https://www.rabbitmq.com/docs/consumers#single-active-consumer
   */
  readonly keepOrder?: boolean | undefined
  /**
   * How long a consumer that was attached waits for its queue when that is gone, before it ends with `NotFound`. Defaults
   * to `"Infinity"`: for as long as the connection lives.
   */
  readonly missingQueueTimeout?: Duration.Input | undefined
  /**
   * Says that a dead letter exchange keeps what the consumer refuses, where a policy of the broker sets one; or that none
   * does. Defaults to what the queue's value says, and for a queue by name to not known.
   */
  readonly deadLetters?: boolean | undefined
}

/**
 * What is the same for messages and for batches; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface HandlingOptions<E, Handled> extends SourceOptions {
  /**
   * The fate of a message whose handler failed with a typed error. Defaults to `deadLetter`; on a stream, which takes no
   * message back, and with `noAck` to `drop`.
   *
   * On a stream, every fate ends in an acknowledgement: `drop` passes the message over, and `retry` appends copies to the
   * stream, which all of its readers see. `deadLetter`, `requeue` and `giveBack` are refused; where a function returns
   * them, the message is passed over, and that is logged.
   */
  readonly onFailure?: FailurePolicy<E, Handled> | undefined
  /** Interrupts a handler that runs longer, which then fails with `HandlerTimeout`. Defaults to no limit. */
  readonly handlerTimeout?: Duration.Input | undefined
  /**
   * The broker's delivery acknowledgement timeout (its `consumer_timeout`), after which the broker takes the channel away
   * from a consumer; `"Infinity"` if the broker has none. At 80 % of it a warning is logged for each running handler; at
   * half of it what waits for a handler is given back. Defaults to `30 minutes`, as the broker's.
   *
   * @see https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
   */
  readonly ackTimeout?: Duration.Input | undefined
  /**
   * `interrupt` also gives back a message whose handler runs at 80 % of the `ackTimeout`: the handler is interrupted, and
   * what waits for a handler is given back with it. Defaults to `warn`, which lets the handler run.
   */
  readonly whenAckTimeout?: "warn" | "interrupt" | undefined
  /**
   * Lets the broker forget each message when it is sent: a message whose handler fails, or that waits when the process
   * ends, is lost, and the prefetch bounds nothing, so that a slow handler holds all that comes in memory. Defaults to
   * `false`.
   */
  readonly noAck?: boolean | undefined
  /** How long the end of the scope waits for running handlers before it interrupts them. Defaults to `30 seconds`. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * Gives each run of the handler a span by OpenTelemetry's messaging conventions, which leads to the publisher's by the
   * W3C `traceparent` header: `link` begins a trace of its own with a link, `parent` goes on with the publisher's trace
   * (a batch has links in either case), and `true` is `link`. A span costs time even if nobody exports it. Defaults to
   * `false`.
   *
   * @see https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
   */
  readonly tracing?: boolean | "link" | "parent" | undefined
}

/**
 * How to consume message by message; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<E> extends HandlingOptions<E, Delivery> {
  /** Handlers that may run at once. Defaults to 1, which keeps the order of the queue. */
  readonly concurrency?: number | undefined
  /** Handles messages with the same key one by one, in their order, whatever the concurrency. Defaults to no key. */
  readonly orderedBy?: ((delivery: Delivery) => string) | undefined
}

/**
 * How to consume in batches; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface BatchOptions<E> extends HandlingOptions<E, NonEmptyReadonlyArray<Delivery>> {
  /** Messages of a full batch. Defaults to 100. */
  readonly size?: number | undefined
  /** How long the first message of a batch waits for the batch to become full. Defaults to `1 second`. */
  readonly within?: Duration.Input | undefined
}

const maxPrefetch = 65535

/** Checks how many of something may be handled at once. */
export const atOnce = (option: "concurrency" | "size", value: number): Effect.Effect<number, AmqpError> =>
  count(option, value, maxPrefetch)

/** Resolves how to attach, for a program that has `atOnce` messages in its hands at the same time. */
export const resolveSource = Effect.fnUntraced(function*(
  queue: Source,
  options: SourceOptions & { readonly noAck?: boolean | undefined },
  atOnce: number
): Effect.fn.Return<AttachmentOptions, AmqpError> {
  const prefetch = options.prefetch === undefined ? undefined : yield* count("prefetch", options.prefetch, maxPrefetch)
  if (prefetch !== undefined && prefetch < atOnce) {
    return yield* invalid("prefetch", `it is ${prefetch}, and ${atOnce} messages would never be out at once`)
  }
  const asked = options.arguments ?? {}
  const given = Effect.isEffect(asked) ? undefined : asked as Arguments
  const traits = traitsOf(queue, { arguments: given, deadLetters: options.deadLetters })
  const noAck = options.noAck === true
  if (noAck && traits.type === "stream") {
    return yield* acknowledgesStreams()
  }
  if (given !== undefined) yield* checkReading(labelOf(queue), given)
  return {
    queue,
    traits: noAck ? { ...traits, deadLetters: false, deadLetterTarget: undefined } : traits,
    prefetch,
    atOnce,
    exclusive: options.exclusive ?? false,
    noAck,
    consumerTag: options.consumerTag,
    arguments: () =>
      given === undefined
        ? Effect.tap(asked as Effect.Effect<Arguments, AmqpError>, (given) => checkReading(labelOf(queue), given))
        : Effect.succeed(given),
    keepOrder: options.keepOrder ?? traits.singleActiveConsumer,
    missingQueueTimeout: options.missingQueueTimeout === undefined
      ? Duration.infinity
      : yield* positive("missingQueueTimeout", options.missingQueueTimeout)
  }
})

/** Resolves the failure policy, and refuses one that cannot work. */
export const resolvePolicy = <E, T>(
  policy: FailurePolicy<E, T> | undefined,
  { noAck, traits }: Pick<AttachmentOptions, "noAck" | "traits">
): Effect.Effect<FailurePolicy<E, T>, AmqpError> => {
  const isStream = traits.type === "stream"
  if (policy === undefined) return Effect.succeed(isStream || noAck ? "drop" : "deadLetter")
  if (noAck && policy !== "drop") {
    return Effect.fail(
      invalid("onFailure", "the broker forgets a message that is sent with noAck; leave one of both out")
    )
  }
  return isStream && (policy === "deadLetter" || policy === "requeue" || policy === "giveBack")
    ? Effect.fail(
      invalid("onFailure", `"${policy}" cannot work on a stream, which takes no message back: use "drop" or a retry`)
    )
    : Effect.succeed(policy)
}

/** The options of a handler that have to do with time. */
export interface Timing {
  readonly handlerTimeout: Duration.Duration | undefined
  readonly ackTimeout: Duration.Duration
  readonly whenAckTimeout: "warn" | "interrupt"
  readonly drainTimeout: Duration.Duration
}

/** Resolves the timing of a handler. */
export const resolveTiming = Effect.fnUntraced(function*(
  options: HandlingOptions<never, never>,
  { traits }: Pick<AttachmentOptions, "traits">
): Effect.fn.Return<Timing, AmqpError> {
  if (options.whenAckTimeout === "interrupt" && traits.type === "stream") {
    return yield* invalid("whenAckTimeout", "a stream takes no message back; use a handlerTimeout")
  }
  return {
    handlerTimeout: options.handlerTimeout === undefined
      ? undefined
      : yield* bound("handlerTimeout", options.handlerTimeout),
    ackTimeout: yield* positive("ackTimeout", options.ackTimeout ?? "30 minutes"),
    whenAckTimeout: options.whenAckTimeout ?? "warn",
    drainTimeout: yield* bound("drainTimeout", options.drainTimeout ?? "30 seconds")
  }
})
