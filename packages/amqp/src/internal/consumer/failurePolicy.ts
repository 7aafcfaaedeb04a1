/**
 * What becomes of a message whose handler did not succeed: the one place that reads the cause.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import type { PublishError, PublishErrorReason } from "../../PublishError.ts"
import type { DeadLetterTarget } from "./deadLetterTarget.ts"
import { HandlerDecision } from "./decision.ts"
import type { Delays } from "./delayedRetry.ts"
import type { PortionFate, Unhandled } from "./fate.ts"
import type { Retry } from "./options.ts"
import { UnroutedDelivery } from "./routing.ts"
import type { QueueTraits } from "./traits.ts"
import { hasStreamOffset } from "./traits.ts"

/** What a policy may answer for a message whose handler failed with a typed error. */
export type Outcome =
  | "deadLetter"
  | "drop"
  | "requeue"
  | "giveBack"
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
  readonly queue: string
  readonly traits: QueueTraits
  /** A message that went back would come behind newer ones. */
  readonly keepOrder: boolean
  readonly onFailure: Outcome | ((error: E, content: T) => Outcome)
  readonly delays: Delays
  /** Where dead letters should go, if that does not exist. */
  readonly missingTarget: Effect.Effect<DeadLetterTarget | undefined>
  /** Settles one message, and counts it. */
  readonly settle: (delivery: Delivery, fate: Unhandled) => void
}): (failure: Failure<T, E>) => Effect.Effect<PortionFate> => {
  const { delays, keepOrder, onFailure, queue, settle, traits } = options
  const isStream = traits.type === "stream"

  /** Of a stream by name only its deliveries tell. */
  const isOfStream = (deliveries: ReadonlyArray<Delivery>): boolean =>
    isStream || deliveries[0]?.isAcknowledgedOnly === true

  const sayOfEach = (
    deliveries: ReadonlyArray<Delivery>,
    say: (message: string, of: Readonly<Record<string, unknown>>) => Effect.Effect<void>,
    message: string
  ): Effect.Effect<void> =>
    Effect.forEach(
      deliveries,
      ({ deliveryTag, isSettled, isStale, messageId }) =>
        isSettled || isStale ? Effect.void : say(message, { queue, messageId, deliveryTag }),
      { discard: true }
    )

  /** Refuses messages for good, and says by name which of them are lost with that. */
  const refuse = (deliveries: ReadonlyArray<Delivery>): Effect.Effect<"deadLetter" | "drop"> =>
    isOfStream(deliveries)
      ? Effect.as(
        sayOfEach(deliveries, Effect.logError, "AMQP message passed over: a stream takes no message back"),
        "drop"
      )
      : traits.deadLetters === undefined
      ? Effect.as(
        sayOfEach(
          deliveries,
          Effect.logWarning,
          "AMQP message refused: dropped unless its queue has a dead letter exchange"
        ),
        "deadLetter"
      )
      : traits.deadLetters
      ? Effect.flatMap(options.missingTarget, (missing) =>
        missing === undefined
          ? Effect.succeed("deadLetter")
          : Effect.as(
            sayOfEach(
              deliveries,
              Effect.logError,
              `AMQP message dropped: its dead letter ${missing.kind} does not exist`
            ),
            "drop"
          ))
      : Effect.as(
        sayOfEach(deliveries, Effect.logError, "AMQP message dropped: its queue has no dead letter exchange"),
        "drop"
      )

  const isHopeless = (error: AmqpError | PublishError, delivery: Delivery): boolean =>
    error._tag === "PublishError"
      ? hopeless.has(error.reason._tag) || (error.reason._tag === "ConnectionLost" && error.reason.isCulprit)
      : error.reason._tag === "InvalidConfiguration" && isOfStream([delivery])

  /** Puts messages back; a stream takes none, and goes on. */
  const putBack = (
    deliveries: ReadonlyArray<Delivery>,
    fate: "requeue" | "giveBack"
  ): Effect.Effect<PortionFate> =>
    isOfStream(deliveries) ? refuse(deliveries) : Effect.as(
      // The message of a stream may have been sent on, so that its offset alone proves nothing.
      traits.type === "unknown" && deliveries.some(hasStreamOffset)
        ? Effect.logWarning(
          "AMQP message has the offset of a stream: if its queue is one, it takes no message back. Give the queue as a " +
            "value with its type",
          { queue }
        )
        : Effect.void,
      fate
    )

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
        isHopeless(error, delivery)
          ? Effect.logError("AMQP message cannot be published again, refusing it", { reason: error.message })
            .pipe(
              Effect.andThen(refuse([delivery])),
              Effect.andThen((fate) => Effect.sync(() => settle(delivery, fate)))
            )
          : isOfStream([delivery]) || keepOrder
          ? Effect.logError("AMQP message could not be delayed, trying again", { reason: error.message }).pipe(
            Effect.andThen(Effect.sleep(requeuePause)),
            Effect.andThen(Effect.suspend(() => delay(delivery, policy, failure)))
          )
          : Effect.logError("AMQP message could not be delayed, requeueing it", { reason: error.message }).pipe(
            Effect.andThen(Effect.sleep(requeuePause)),
            Effect.andThen(Effect.sync(() => settle(delivery, "requeue")))
          )
    })

  const follow = (
    outcome: Outcome,
    deliveries: ReadonlyArray<Delivery>,
    failure: unknown
  ): Effect.Effect<PortionFate> => {
    switch (outcome) {
      case "deadLetter":
        return refuse(deliveries)
      case "drop":
        return Effect.succeed("drop")
      case "requeue":
      case "giveBack":
        return putBack(deliveries, outcome)
      default:
        return Effect.as(
          Effect.forEach(deliveries, (delivery) => delay(delivery, outcome, failure), {
            concurrency: "unbounded",
            discard: true
          }),
          "each"
        )
    }
  }

  const judge = ({ cause, content, deliveries, isInterrupted }: Failure<T, E>): Effect.Effect<PortionFate> => {
    // What is interrupted at the end of a stream's consumer is read again by the next one.
    if (isInterrupted && Cause.hasInterrupts(cause)) return Effect.succeed("giveBack")
    if (Cause.hasDies(cause)) {
      return Effect.andThen(
        Effect.logError("AMQP handler died, its message is dead-lettered", cause),
        refuse(deliveries)
      )
    }
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None") {
      // Requeued each time, the message of a handler that always interrupts itself would go round without a pause.
      const isSecondTime = deliveries.some((delivery) => delivery.redelivered)
      return Effect.andThen(
        Effect.logWarning("AMQP handler interrupted itself"),
        isSecondTime ? refuse(deliveries) : putBack(deliveries, "requeue")
      )
    }
    if (error.value instanceof HandlerDecision) return follow(error.value.fate, deliveries, error.value)
    // Another try finds no handler either.
    if (error.value instanceof UnroutedDelivery && typeof onFailure !== "function") {
      return Effect.andThen(Effect.logWarning(error.value.message), refuse(deliveries))
    }
    const outcome = typeof onFailure === "function" ? onFailure(error.value, content) : onFailure
    return Effect.andThen(Effect.logWarning("AMQP handler failed", cause), follow(outcome, deliveries, error.value))
  }

  return (failure) =>
    Effect.suspend(() => judge(failure)).pipe(
      Effect.catchDefect((defect) =>
        Effect.andThen(
          Effect.logError("AMQP failure policy died, its message is dead-lettered", defect),
          refuse(failure.deliveries)
        )
      )
    )
}
