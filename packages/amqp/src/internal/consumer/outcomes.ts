/**
 * What became of the messages of a batch one by one.
 */
import type * as Cause from "effect/Cause"
import type * as Exit from "effect/Exit"
import type { Delivery } from "../../AmqpDelivery.ts"

const TypeId = "~effect-amqp/BatchOutcomes"

/**
 * The outcome of each message of a batch, which the handler of `runBatch` may succeed with.
 *
 * @category models
 * @since 0.2.0
 */
export interface BatchOutcomes<out E> {
  readonly [TypeId]: typeof TypeId
  /** The messages that failed; the others of the batch succeeded. */
  readonly failed: ReadonlyMap<Delivery, Cause.Cause<E>>
}

/** Keeps the failures of exits. */
export const fromExits = <E>(
  exits: Iterable<readonly [delivery: Delivery, exit: Exit.Exit<unknown, E>]>
): BatchOutcomes<E> => {
  const failed = new Map<Delivery, Cause.Cause<E>>()
  for (const [delivery, exit] of exits) {
    if (exit._tag === "Failure") failed.set(delivery, exit.cause)
  }
  return { [TypeId]: TypeId, failed }
}

/** Tells that a value is the outcome of a batch in which something failed. */
export const isPartial = (value: unknown): value is BatchOutcomes<unknown> =>
  typeof value === "object" && value !== null && TypeId in value && (value as BatchOutcomes<unknown>).failed.size > 0
