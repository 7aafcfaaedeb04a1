/**
 * What becomes of a message whose handler did not succeed: the one place that reads the cause.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { PublishErrorReason } from "../../PublishError.ts"
import type { Delays } from "./delayedRetry.ts"
import type { PortionFate, Unhandled } from "./fate.ts"
import type { Retry } from "./options.ts"

/** What a policy may answer for a message whose handler failed with a typed error. */
export type Outcome =
  | "deadLetter"
  | "requeue"
  | Retry

/** The end of a handler that did not succeed. */
export interface Failure<T, E> {
  readonly content: T
  readonly deliveries: ReadonlyArray<Delivery>
  readonly cause: Cause.Cause<E>
  /** The library interrupted the handler, which says nothing against the message. */
  readonly isInterrupted: boolean
}

// Why a message can never be published again as it is.
const hopeless: ReadonlySet<PublishErrorReason["_tag"]> = new Set(["InvalidMessage", "EncodeError", "TooLarge"])

// How long a message rests before it is requeued because it could not be put into a wait queue.
const requeuePause = Duration.seconds(1)

/** Makes the judgement of failures, which logs what it decides. */
export const make = <T, E>(options: {
  readonly onFailure: Outcome | ((error: E, content: T) => Outcome)
  readonly delays: Delays
  /** Settles one message, and counts it. */
  readonly settle: (delivery: Delivery, fate: Unhandled) => void
}): (failure: Failure<T, E>) => Effect.Effect<PortionFate> => {
  const { delays, onFailure, settle } = options

  /** Copies a message to where its next attempt waits, unless that would multiply it, and settles it then. */
  const delay = (delivery: Delivery, policy: Retry, failure: unknown): Effect.Effect<void> =>
    Effect.matchEffect(delays.delay(delivery, policy, failure), {
      onSuccess: (fate) =>
        Effect.andThen(
          Effect.sync(() => settle(delivery, fate ?? "requeue")),
          fate === undefined
            ? Effect.void
            : Effect.logWarning(fate === "retry" ? "AMQP message will be retried" : "AMQP message parked")
        ),
      onFailure: (error) =>
        error._tag === "PublishError" && hopeless.has(error.reason._tag)
          ? Effect.andThen(
            Effect.sync(() => settle(delivery, "deadLetter")),
            Effect.logError("AMQP message cannot be published again, dead-lettering it", { reason: error.message })
          )
          : Effect.logError("AMQP message could not be delayed, requeueing it", { reason: error.message }).pipe(
            Effect.andThen(Effect.sleep(requeuePause)),
            Effect.andThen(Effect.sync(() => settle(delivery, "requeue")))
          )
    })

  const judge = ({ cause, content, deliveries, isInterrupted }: Failure<T, E>): Effect.Effect<PortionFate> => {
    if (isInterrupted && Cause.hasInterrupts(cause)) return Effect.succeed("requeue")
    if (Cause.hasDies(cause)) {
      return Effect.as(Effect.logError("AMQP handler died, its message is dead-lettered", cause), "deadLetter")
    }
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None") {
      // Requeued each time, the message of a handler that always interrupts itself would go round without a pause.
      const isSecondTime = deliveries.some((delivery) => delivery.redelivered)
      return Effect.as(Effect.logWarning("AMQP handler interrupted itself"), isSecondTime ? "deadLetter" : "requeue")
    }
    const outcome = typeof onFailure === "function" ? onFailure(error.value, content) : onFailure
    const logged = Effect.logWarning("AMQP handler failed", cause)
    return typeof outcome === "object"
      ? logged.pipe(
        Effect.andThen(
          Effect.forEach(deliveries, (delivery) => delay(delivery, outcome, error.value), {
            concurrency: "unbounded",
            discard: true
          })
        ),
        Effect.as("each")
      )
      : Effect.as(logged, outcome)
  }

  return (failure) =>
    Effect.tapDefect(
      Effect.suspend(() => judge(failure)),
      (defect) => Effect.logError("AMQP failure policy died, its message is dead-lettered", defect)
    )
}
