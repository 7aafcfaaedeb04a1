/**
 * What becomes of a message of a stream whose handler did not succeed. The stream takes nothing back, so that everything
 * is done here and now: trying again, and publishing a copy.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type { Delivery } from "../../AmqpDelivery.ts"
import * as AmqpMessage from "../../AmqpMessage.ts"
import type { AmqpPublisher } from "../../AmqpPublisher.ts"
import type { PublishErrorReason } from "../../PublishError.ts"
import { HandlerDecision } from "../consumer/decision.ts"
import type { HandlerTimeout } from "../consumer/errors.ts"
import type { Failure } from "../consumer/failurePolicy.ts"
import type { PortionFate } from "../consumer/fate.ts"
import { parkedHeaders } from "../consumer/parkedHeaders.ts"
import type { Named } from "../named.ts"
import { nameOf } from "../named.ts"
import * as ScheduleDelays from "../scheduleDelays.ts"
import { offsetOf } from "./offset.ts"
import type { FailureOutcome, FailurePolicy, RetryInPlace } from "./policy.ts"

/** Where copies of what was given up go. */
export interface DeadLetters {
  readonly publisher: AmqpPublisher
  readonly to: Named<"Queue"> | { readonly exchange: Named<"Exchange">; readonly routingKey: string }
}

/** What the judgement needs. */
export interface JudgementOptions<E> {
  readonly stream: string
  readonly onFailure: FailurePolicy<E> | undefined
  readonly deadLetters: DeadLetters | undefined
  /** Open when nothing is to be tried again, because the reader ends. */
  readonly stopping: Latch.Latch
}

/** Tries again without an end: a message is passed over only where the user says so. */
const untilItSucceeds: RetryInPlace = {
  _tag: "RetryInPlace",
  schedule: Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("30 seconds")]),
  exhausted: undefined
}

// Why a message can never be published again as it is.
const hopeless: ReadonlySet<PublishErrorReason["_tag"]> = new Set(["InvalidMessage", "EncodeError", "TooLarge"])

const publishPause = Duration.seconds(1)

/** Makes the judgement of failures, which logs what it decides. */
export const make = <E>({ deadLetters, onFailure, stopping, stream }: JudgementOptions<E>) =>
<R>(
  handle: (delivery: Delivery) => Effect.Effect<unknown, E | HandlerDecision | HandlerTimeout, R>
): (failure: Failure<Delivery, E | HandlerDecision | HandlerTimeout>) => Effect.Effect<PortionFate, never, R> => {
  /** Waits; returns `false` if the reader ends before that. */
  const rest = (duration: Duration.Duration): Effect.Effect<boolean> =>
    Effect.raceFirst(Effect.as(Effect.sleep(duration), true), Effect.as(stopping.await, false))

  const isPossible = (outcome: FailureOutcome): boolean => outcome !== "deadLetter" || deadLetters !== undefined

  const outcomeOf = (
    cause: Cause.Cause<E | HandlerDecision | HandlerTimeout>,
    delivery: Delivery
  ): FailureOutcome => {
    const error = Cause.findErrorOption(cause)
    const isFailure = error._tag === "Some" && !Cause.hasDies(cause)
    let outcome: FailureOutcome
    if (isFailure && error.value instanceof HandlerDecision) {
      outcome = error.value.fate === "giveBack" ? untilItSucceeds : error.value.fate
    } else if (typeof onFailure !== "function") outcome = onFailure ?? untilItSucceeds
    // A defect is nothing that the policy knows.
    else outcome = isFailure ? onFailure(error.value as E | HandlerTimeout, delivery) : "deadLetter"
    return isPossible(outcome) ? outcome : untilItSucceeds
  }

  const copyOf = (delivery: Delivery, error: unknown, attempts: number, at: Date, to: DeadLetters["to"]) => ({
    ...AmqpMessage.forward(delivery, {
      ...(typeof to === "object" && "exchange" in to
        ? { exchange: nameOf(to.exchange), routingKey: to.routingKey }
        : { exchange: "", routingKey: nameOf(to) }),
      headers: {
        ...parkedHeaders(error, delivery, at, delivery.origin?.connectionName),
        "x-parked-attempts": attempts,
        "x-parked-stream": stream,
        "x-parked-offset": offsetOf(delivery.properties)
      }
    })
  })

  const deadLetter = Effect.fnUntraced(function*(
    delivery: Delivery,
    error: unknown,
    attempts: number
  ): Effect.fn.Return<PortionFate> {
    const { publisher, to } = deadLetters!
    for (;;) {
      const now = yield* Clock.currentTimeMillis
      const failure = yield* Effect.match(
        publisher.publish(copyOf(delivery, error, attempts, new Date(now), to)),
        { onSuccess: () => undefined, onFailure: (error) => error }
      )
      if (failure === undefined) return "deadLetter"
      if (hopeless.has(failure.reason._tag)) {
        yield* Effect.logError("AMQP message of a stream cannot be published again, passing it over", {
          reason: failure.message
        })
        return "drop"
      }
      yield* Effect.logError("AMQP message of a stream could not be dead-lettered, trying again", {
        reason: failure.message
      })
      if (!(yield* rest(publishPause))) return "giveBack"
    }
  })

  const judge = Effect.fnUntraced(function*(
    failure: Failure<Delivery, E | HandlerDecision | HandlerTimeout>
  ): Effect.fn.Return<PortionFate, never, R> {
    const { content: delivery } = failure
    const offset = offsetOf(delivery.properties)
    let { cause } = failure
    let schedule: Schedule.Schedule<unknown> | undefined
    let next: ScheduleDelays.NextDelay<unknown> | undefined
    for (let attempts = 1;; attempts++) {
      const error = Cause.squash(cause)
      if (!(error instanceof HandlerDecision)) {
        yield* Effect.annotateLogs(Effect.logWarning("AMQP handler of a stream failed", cause), { offset, attempts })
      }
      let outcome = outcomeOf(cause, delivery)
      let delay: Duration.Duration | undefined
      while (typeof outcome === "object") {
        if (schedule !== outcome.schedule) {
          // A policy that makes its schedule anew for each failure is asked as if it had been the same one.
          const missed: number = schedule === undefined ? 0 : attempts - 1
          schedule = outcome.schedule
          next = yield* ScheduleDelays.start(schedule)
          for (let i = 0; i < missed; i++) yield* next(yield* Clock.currentTimeMillis, error)
        }
        delay = yield* next!(yield* Clock.currentTimeMillis, error)
        if (delay !== undefined) break
        const last = outcome.exhausted ?? "deadLetter"
        outcome = isPossible(last) ? last : untilItSucceeds
      }
      if (outcome === "drop") return "drop"
      if (delay === undefined) return yield* deadLetter(delivery, error, attempts)
      if (!(yield* rest(delay))) return "giveBack"
      const exit = yield* Effect.exit(handle(delivery))
      if (exit._tag === "Success") return "ack"
      cause = exit.cause
    }
  })

  return (failure) => {
    if (failure.isInterrupted && Cause.hasInterrupts(failure.cause)) return Effect.succeed("giveBack")
    return Effect.catchDefect(
      judge(failure),
      (defect) =>
        Effect.logError("AMQP failure policy of a stream died, trying the message again", defect).pipe(
          Effect.andThen(rest(publishPause)),
          Effect.flatMap((goesOn): Effect.Effect<PortionFate, never, R> =>
            goesOn
              ? make<E>({ deadLetters, onFailure: undefined, stopping, stream })(handle)(failure)
              : Effect.succeed("giveBack")
          )
        )
    )
  }
}
