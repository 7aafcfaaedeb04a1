/**
 * The options of readers of streams, checked and with their defaults.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Arguments } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { bound, invalid } from "../checkOptions.ts"
import type { QueueLike } from "../connection/queueName.ts"
import { labelOf } from "../connection/queueName.ts"
import { checkReading } from "../consumer/offset.ts"
import type { Options as ConsumerOptions } from "../consumer/options.ts"
import type { Named } from "../named.ts"
import type { FailurePolicy } from "./policy.ts"

/**
 * A stream to read, by its name or as a value of `AmqpTopology.queue` with the type `stream`.
 *
 * @category models
 * @since 0.2.0
 */
export type Source = string | Extract<QueueLike, { readonly _tag: "Queue" }>

/**
 * Where a group begins that has no offset yet:
 *
 * - `first`: the first message that the stream still has;
 * - `last`: the first message of the last chunk, which is what the broker has stored last in one piece;
 * - `next`: the first message that comes after the reader was made;
 * - a Date: about the first message that came then, or some that came shortly before;
 * - a number: the message with that offset, or the next one there is.
 *
 * @category options
 * @since 0.2.0
 */
export type From = "first" | "last" | "next" | Date | number

/**
 * How to read a stream; all of it but the group is optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options<E> extends
  Pick<
    ConsumerOptions<E>,
    | "ackTimeout"
    | "concurrency"
    | "consumerTag"
    | "drainTimeout"
    | "handlerTimeout"
    | "missingQueueTimeout"
    | "orderedBy"
    | "prefetch"
    | "tracing"
  >
{
  /** Names the readers that share an offset. Run one reader of a group at a time: two would each handle everything. */
  readonly group: string
  /** Where the group begins while it has no offset. Defaults to `first`, which skips nothing. */
  readonly from?: From | undefined
  /**
   * Reads only messages whose header `x-stream-filter-value` has one of these values. RabbitMQ 3.13 and later send only
   * chunks that may have them; the rest is left out here, on every version. Defaults to all messages.
   *
   * @see https://www.rabbitmq.com/docs/streams#filtering
   */
  readonly filter?: string | ReadonlyArray<string> | undefined
  /** Reads also messages without the header, when there is a `filter`. Defaults to `false`. */
  readonly matchUnfiltered?: boolean | undefined
  /**
   * The fate of a message whose handler failed. Defaults to trying it again without an end, after 1 second, then twice as
   * long each time, and at most 30 seconds: nothing is passed over unless you say so.
   */
  readonly onFailure?: FailurePolicy<E> | undefined
  /** Where `deadLetter` publishes a copy to: a queue, or an exchange with a routing key. */
  readonly deadLetterTo?:
    | Named<"Queue">
    | { readonly exchange: Named<"Exchange">; readonly routingKey: string }
    | undefined
  /**
   * How often the offset is saved, when it has changed. What was handled since the last save is handled once more after a
   * crash. Defaults to `5 seconds`.
   */
  readonly saveInterval?: Duration.Input | undefined
  /** How long loading or saving an offset may take before it counts as failed. Defaults to `10 seconds`. */
  readonly storeTimeout?: Duration.Input | undefined
}

/** The options, resolved. */
export interface Resolved {
  readonly stream: Extract<QueueLike, { readonly _tag: "Queue" }>
  readonly group: string
  readonly from: From
  /** The arguments of `basic.consume` besides the offset. */
  readonly filter: Arguments
  /** Tells that a message is wanted, by the value of its header. */
  readonly isWanted: ((value: unknown) => boolean) | undefined
  readonly saveInterval: Duration.Duration
  readonly storeTimeout: Duration.Duration
}

const isFrom = (from: unknown): boolean =>
  from === "first" || from === "last" || from === "next" ||
  (from instanceof Date && !Number.isNaN(from.getTime())) ||
  (typeof from === "number" && Number.isSafeInteger(from) && from >= 0)

/** Resolves the options, and refuses what cannot work. */
export const resolve = Effect.fnUntraced(function*(
  source: Source,
  options: Options<never>
): Effect.fn.Return<Resolved, AmqpError> {
  const name = labelOf(source)
  if (typeof source !== "string" && source.arguments["x-queue-type"] !== "stream") {
    return yield* invalid("stream", `"${name}" is not a stream; declare it with { type: "stream" }`)
  }
  if (options.group === "") return yield* invalid("group", "it is empty; name who reads, such as \"billing\"")
  const from = options.from ?? "first"
  if (!isFrom(from)) {
    return yield* invalid(
      "from",
      `it is ${String(from)}; it must be "first", "last", "next", a Date, or an offset from 0`
    )
  }
  const { deadLetterTo, filter, matchUnfiltered, onFailure } = options
  const deadLetters = onFailure === "deadLetter" ||
    (typeof onFailure === "object" && onFailure.exhausted === "deadLetter")
  if (deadLetters && deadLetterTo === undefined) {
    return yield* invalid("onFailure", "a stream has no dead letter exchange: say with deadLetterTo where copies go")
  }
  const given: Arguments = filter === undefined ? {} : {
    "x-stream-filter": filter,
    ...(matchUnfiltered === true ? { "x-stream-match-unfiltered": true } : {})
  }
  yield* checkReading(name, given)
  const values = new Set<unknown>(typeof filter === "string" ? [filter] : filter)
  return {
    stream: typeof source === "string"
      ? { _tag: "Queue", name, durable: true, arguments: { "x-queue-type": "stream" } }
      : source,
    group: options.group,
    from,
    filter: given,
    isWanted: filter === undefined
      ? undefined
      : (value) => value === undefined ? matchUnfiltered === true : values.has(value),
    saveInterval: yield* bound("saveInterval", options.saveInterval ?? "5 seconds"),
    storeTimeout: yield* bound("storeTimeout", options.storeTimeout ?? "10 seconds")
  }
})
