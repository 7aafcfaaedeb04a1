/**
 * What becomes of a message whose handler did not succeed: the one place that reads the cause.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { PublishErrorReason } from "../../PublishError.ts"
import type { Delays } from "./delayedRetry.ts"
import type { Settlement } from "./dispatcher.ts"
import type { Failed } from "./metrics.ts"

/** What a policy may say of a message whose handler failed with a typed error. */
export type Outcome =
  | "deadLetter"
  | "requeue"
  | { readonly _tag: "Retry"; readonly schedule: Schedule.Schedule<unknown> }

/** A handler's end that was no success. */
export interface Failure<T, E> {
  readonly portion: T
  readonly deliveries: ReadonlyArray<Delivery>
  readonly cause: Cause.Cause<E>
  /** We interrupted it: that says nothing against the message. */
  readonly isInterrupted: boolean
}

// Why a message can never be published again as it is.
const hopeless: ReadonlySet<PublishErrorReason["_tag"]> = new Set(["InvalidMessage", "EncodeError", "TooLarge"])

// How long a message rests before it is requeued because it could not be put into a wait queue.
const requeuePause = Duration.seconds(1)

/** Judge failures; what is logged about them is logged by the judgement. */
export const make = <T, E>(options: {
  readonly onFailure: Outcome | ((error: E, portion: T) => Outcome)
  readonly delays: Delays
  /** Settle one message, and count it. */
  readonly settle: (delivery: Delivery, fate: Failed) => void
}): (failure: Failure<T, E>) => Effect.Effect<Settlement> => {
  const { delays, onFailure, settle } = options

  /** Put a message where its next attempt waits, unless that would multiply it, and settle it then. */
  const delay = (delivery: Delivery, schedule: Schedule.Schedule<unknown>): Effect.Effect<void> =>
    Effect.matchEffect(delays.delay(delivery, schedule), {
      onSuccess: (went) =>
        Effect.andThen(
          Effect.sync(() => settle(delivery, went ?? "requeue")),
          went === undefined
            ? Effect.void
            : Effect.logWarning(went === "retry" ? "AMQP message will be retried" : "AMQP message parked")
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

  const judge = ({ cause, deliveries, isInterrupted, portion }: Failure<T, E>): Effect.Effect<Settlement> => {
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
    const outcome = typeof onFailure === "function" ? onFailure(error.value, portion) : onFailure
    const logged = Effect.logWarning("AMQP handler failed", cause)
    return typeof outcome === "object"
      ? logged.pipe(
        Effect.andThen(
          Effect.forEach(deliveries, (delivery) => delay(delivery, outcome.schedule), {
            concurrency: "unbounded",
            discard: true
          })
        ),
        Effect.as("delayed")
      )
      : Effect.as(logged, outcome)
  }

  return (failure) =>
    Effect.tapDefect(
      Effect.suspend(() => judge(failure)),
      (defect) => Effect.logError("AMQP failure policy died, its message is dead-lettered", defect)
    )
}
