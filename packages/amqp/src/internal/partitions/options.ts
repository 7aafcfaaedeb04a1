/**
 * The options of partitioned consumers, checked and with their defaults.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { bound, count, invalid } from "../checkOptions.ts"
import type { HandlerDecision } from "../consumer/decision.ts"
import type { HandlerTimeout } from "../consumer/errors.ts"
import type { HandlingOptions } from "../consumer/options.ts"

/** What a schedule and a policy are told of: no decisions. */
export type Failure<E> = Exclude<E, HandlerDecision> | HandlerTimeout

/**
 * The fate of a message that was given up: `park` puts a copy with the reason into the parking queue, and `drop` forgets
 * the message.
 *
 * @category options
 * @since 0.2.0
 */
export type GivenUpOutcome = "park" | "drop"

/**
 * How to consume partitions; all of it optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options<E, R = never> extends
  Pick<
    HandlingOptions<never, never>,
    "handlerTimeout" | "ackTimeout" | "drainTimeout" | "tracing" | "missingQueueTimeout"
  >
{
  /**
   * Names this instance, unlike every other instance of the group, for the health and the logs: the name of a pod is one.
   * Defaults to a new name.
   */
  readonly instance?: string | undefined
  /**
   * Messages of a partition that may be out here unacknowledged, from 1 to 65535. They are handled before the partition is
   * handed over to an instance that comes: where handlers are slow, ask for few. Defaults to 100, or to twice the
   * `concurrency` if that is more.
   */
  readonly prefetch?: number | undefined
  /** Messages of one partition that are handled at once; more than 1 needs `orderedBy`. Defaults to 1. */
  readonly concurrency?: number | undefined
  /**
   * Handles messages of the same key one by one, in their order: with a `concurrency` of more than 1 the order is kept for
   * each key, and no longer for the partition. `AmqpPartitions.keyOf` reads the key that a message was published with.
   */
  readonly orderedBy?: ((delivery: Delivery) => string) | undefined
  /**
   * Says when a handler that failed is tried again. It is tried in place: its partition waits meanwhile, or its key with
   * `orderedBy`, so that nothing overtakes the message. Keep the whole of it below the broker's acknowledgement timeout.
   * Defaults to 5 times, after 100 ms, 200 ms, 400 ms, 800 ms and 1.6 s.
   */
  readonly retry?: Schedule.Schedule<unknown, Failure<E>> | undefined
  /** The fate of a message whose handler failed as often as `retry` allows, or died. Defaults to `park`. */
  readonly onFailure?: GivenUpOutcome | ((error: Failure<E>, delivery: Delivery) => GivenUpOutcome) | undefined
  /**
   * Runs before the first message of a partition is handled here, and is waited for: to load what belongs to the
   * partition. RabbitMQ does not tell whom it has chosen for a partition: the first message does.
   */
  readonly onAssigned?: ((partition: number) => Effect.Effect<void, never, R>) | undefined
  /**
   * Runs when a partition that was assigned is no longer handled here, after its last handler: to keep what belongs to the
   * partition. At the end of the scope it runs before another instance gets the partition, and is waited for within the
   * `drainTimeout`; when the connection is lost, others may have it already.
   */
  readonly onRevoked?: ((partition: number) => Effect.Effect<void, never, R>) | undefined
}

/** The options with their defaults. */
export interface Resolved<E, R> {
  readonly instance: string
  readonly concurrency: number
  readonly orderedBy: ((delivery: Delivery) => string) | undefined
  readonly prefetch: number
  readonly retry: Schedule.Schedule<unknown, Failure<E>>
  readonly onFailure: (error: Failure<E>, delivery: Delivery) => GivenUpOutcome
  readonly handlerTimeout: Duration.Duration | undefined
  readonly drainTimeout: Duration.Duration
  readonly onAssigned: ((partition: number) => Effect.Effect<void, never, R>) | undefined
  readonly onRevoked: ((partition: number) => Effect.Effect<void, never, R>) | undefined
}

const maxPrefetch = 65535

// What is out is handled before a partition is handed over to an instance that comes. Fewer would cost more
// acknowledgements, each for fewer messages.
const prefetchOf = (concurrency: number): number => Math.min(Math.max(100, concurrency * 2), maxPrefetch)

const orderIsLost =
  "it would let newer messages overtake the one that failed. Try again in place with the option `retry`, which holds the " +
  "partition meanwhile; what is given up then is \"park\" or \"drop\""

const isOutcome = (value: unknown): value is GivenUpOutcome => value === "park" || value === "drop"

const refused = (value: unknown): AmqpError =>
  invalid(
    "onFailure",
    typeof value === "object" && value !== null
      ? `a retry with a delay puts the message behind others: ${orderIsLost}`
      : `"${String(value)}" is not for partitions: ${orderIsLost}`
  )

/** Checks the options, and gives them their defaults. */
export const resolve = Effect.fnUntraced(function*<E, R>(
  options: Options<E, R>
): Effect.fn.Return<Resolved<E, R>, AmqpError> {
  const concurrency = yield* count("concurrency", options.concurrency ?? 1, maxPrefetch)
  if (concurrency > 1 && options.orderedBy === undefined) {
    return yield* invalid(
      "concurrency",
      `it is ${concurrency}, and a partition is handled in order: say with \`orderedBy\` what has to stay in order, ` +
        "for example `AmqpPartitions.keyOf`"
    )
  }
  const prefetch = yield* count("prefetch", options.prefetch ?? prefetchOf(concurrency), maxPrefetch)
  const policy: unknown = options.onFailure ?? "park"
  if (typeof policy !== "function" && !isOutcome(policy)) return yield* refused(policy)
  if (options.instance === "") return yield* invalid("instance", "it is empty; leave it out for a new name")
  return {
    instance: options.instance ?? crypto.randomUUID(),
    concurrency,
    orderedBy: options.orderedBy,
    prefetch,
    retry: options.retry ?? Schedule.upTo(Schedule.exponential("100 millis"), { times: 5 }),
    onFailure: typeof policy === "function"
      ? (error, delivery) => {
        const outcome: unknown = policy(error, delivery)
        if (!isOutcome(outcome)) throw refused(outcome)
        return outcome
      }
      : () => policy,
    handlerTimeout: options.handlerTimeout === undefined
      ? undefined
      : yield* bound("handlerTimeout", options.handlerTimeout),
    drainTimeout: yield* bound("drainTimeout", options.drainTimeout ?? "30 seconds"),
    onAssigned: options.onAssigned,
    onRevoked: options.onRevoked
  }
})
