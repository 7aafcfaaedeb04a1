/**
 * What becomes of a message of a stream whose handler failed.
 */
import type * as Schedule from "effect/Schedule"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { HandlerTimeout } from "../consumer/errors.ts"

/**
 * Tries a message again in place, see `AmqpStream.retry`.
 *
 * @category failure policies
 * @since 0.2.0
 */
export interface RetryInPlace {
  readonly _tag: "RetryInPlace"
  readonly schedule: Schedule.Schedule<unknown>
  /** What becomes of a message that failed once more after the schedule; `undefined` as `AmqpStream.retry` says. */
  readonly exhausted: "deadLetter" | "drop" | undefined
}

/**
 * The fate of a message whose handler failed. The stream keeps the message in any case.
 *
 * - `retry` of a schedule: its handler is run again, and what comes behind it waits;
 * - `deadLetter`: a copy goes to `deadLetterTo`, confirmed before the reader goes on;
 * - `drop`: the message is passed over.
 *
 * @category failure policies
 * @since 0.2.0
 */
export type FailureOutcome = "deadLetter" | "drop" | RetryInPlace

/**
 * The fate of messages whose handler failed, the same for all or by the failure.
 *
 * @category failure policies
 * @since 0.2.0
 */
export type FailurePolicy<E> = FailureOutcome | ((error: E | HandlerTimeout, delivery: Delivery) => FailureOutcome)
