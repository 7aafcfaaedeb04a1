/**
 * The options of consumers, checked and with their defaults.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { Arguments } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import type * as AmqpTopology from "../../AmqpTopology.ts"
import { bound, count, invalid, positive } from "../checkOptions.ts"
import type { AttachmentOptions } from "./attachment.ts"
import type { HandlerTimeout } from "./errors.ts"
import type { RetryOptions } from "./retryQueues.ts"

/**
 * A queue to consume from, by its name or as a value of `AmqpTopology`.
 *
 * @category models
 * @since 0.1.0
 */
export type Source = string | AmqpTopology.Queue | AmqpTopology.ServerNamedQueue

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
 * - `requeue`: the message goes back into its queue at once, where it is soon delivered again, without a pause or an end;
 * - `retry` of a schedule: the message comes back later, and is parked when it was tried often enough.
 *
 * @category failure policies
 * @since 0.1.0
 */
export type FailureOutcome = "deadLetter" | "requeue" | Retry

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
   * Messages that the broker may have out to this consumer unacknowledged, from 1 to 65535. Defaults to 100, or to twice
   * what can be handled at once if that is more.
   */
  readonly prefetch?: number | undefined
  /** Refuses other consumers of the queue. Defaults to `false`. */
  readonly exclusive?: boolean | undefined
  /** Arguments of `basic.consume`, such as `x-priority` or `x-stream-offset`. Defaults to none. */
  readonly arguments?: Arguments | undefined
}

/**
 * What is the same for messages and for batches; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface HandlingOptions<E, Handled> extends SourceOptions {
  /** The fate of a message whose handler failed with a typed error. Defaults to `deadLetter`. */
  readonly onFailure?: FailurePolicy<E, Handled> | undefined
  /** Interrupts a handler that runs longer, which then fails with `HandlerTimeout`. Defaults to no limit. */
  readonly handlerTimeout?: Duration.Input | undefined
  /**
   * The broker's delivery acknowledgement timeout (its `consumer_timeout`), after which the broker takes the channel away
   * from a consumer; `"Infinity"` if the broker has none. At 80 % of it a warning is logged. Defaults to `30 minutes`, as
   * the broker's.
   *
   * @see https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
   */
  readonly ackTimeout?: Duration.Input | undefined
  /**
   * `interrupt` also requeues a message that was out for 80 % of the `ackTimeout`: its handler is interrupted, and what
   * waits for a handler is requeued with it. Defaults to `warn`, which does neither.
   */
  readonly whenAckTimeout?: "warn" | "interrupt" | undefined
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
  options: SourceOptions,
  atOnce: number
): Effect.fn.Return<AttachmentOptions, AmqpError> {
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

/** The options of a handler that have to do with time. */
export interface Timing {
  readonly handlerTimeout: Duration.Duration | undefined
  readonly ackTimeout: Duration.Duration
  readonly whenAckTimeout: "warn" | "interrupt"
  readonly drainTimeout: Duration.Duration
}

/** Resolves the timing of a handler. */
export const resolveTiming = Effect.fnUntraced(function*(
  options: HandlingOptions<never, never>
): Effect.fn.Return<Timing, AmqpError> {
  return {
    handlerTimeout: options.handlerTimeout === undefined
      ? undefined
      : yield* bound("handlerTimeout", options.handlerTimeout),
    ackTimeout: yield* positive("ackTimeout", options.ackTimeout ?? "30 minutes"),
    whenAckTimeout: options.whenAckTimeout ?? "warn",
    drainTimeout: yield* bound("drainTimeout", options.drainTimeout ?? "30 seconds")
  }
})
