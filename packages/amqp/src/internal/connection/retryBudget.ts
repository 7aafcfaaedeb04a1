/**
 * How long the same outage is fought: a schedule as delays, with what it means when there is none left.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import { AmqpError, ReconnectAbandoned } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"
import * as ScheduleDelays from "../scheduleDelays.ts"
import { steadyMillis } from "./patience.ts"

/** What a budget is for: the first session of a connection, or the next one after a loss. */
export type Purpose = "startup" | "retry"

/** The attempts of one start-up or of one outage. */
export interface RetryBudget {
  readonly purpose: Purpose
  /** Attempts begun, the present one included. */
  attempts: number
  /** The delay before the next attempt. Fails if the failure of the last one was the end of it. */
  readonly next: (cause: AmqpError) => Effect.Effect<Duration.Duration, AmqpError>
}

/** The schedules that budgets are made of. */
export interface RetrySchedules {
  /** For the first session. Without it that is retried as after a loss, because the connection has been up. */
  readonly startup: Schedule.Schedule<unknown, AmqpError> | undefined
  readonly retry: Schedule.Schedule<unknown, AmqpError>
}

type Step = (cause: AmqpError) => Effect.Effect<Duration.Duration | undefined, AmqpError>

// A schedule is the application's own code, and may throw.
const start = (purpose: Purpose, schedule: Schedule.Schedule<unknown, AmqpError>): Effect.Effect<Step> =>
  Effect.zipWith(ScheduleDelays.start(schedule), Clock.Clock, (step, clock): Step => (cause) =>
    Effect.catchDefect(
      step(clock.currentTimeMillisUnsafe(), cause),
      (defect) => Effect.fail(invalid(purpose, `its schedule threw: ${String(defect)}`))
    ))

const make = (purpose: Purpose, step: Step): RetryBudget => {
  const budget: RetryBudget = {
    purpose,
    attempts: 0,
    next: (cause) =>
      purpose === "startup" && !cause.isRetryable
        ? Effect.fail(cause)
        : Effect.flatMap(step(cause), (delay) => {
          if (delay !== undefined) return Effect.succeed(delay)
          return Effect.fail(
            purpose === "startup" ? cause : new AmqpError({
              operation: "reconnect",
              reason: new ReconnectAbandoned({ attempts: budget.attempts, last: cause.reason })
            })
          )
        })
  }
  return budget
}

/** The budget of the first session. */
export const first = (schedules: RetrySchedules): Effect.Effect<RetryBudget> =>
  schedules.startup === undefined
    ? afresh(schedules)
    : Effect.map(start("startup", schedules.startup), (step) => make("startup", step))

/** The budget of an outage that begins. */
export const afresh = (schedules: RetrySchedules): Effect.Effect<RetryBudget> =>
  Effect.map(start("retry", schedules.retry), (step) => make("retry", step))

/**
 * How long a session must have been announced to end the outage before it: the first delay, and the steady time. A
 * broker that accepts and hangs up would otherwise be dialled without a pause and without an end.
 */
export const steadiness = (
  schedules: RetrySchedules,
  cause: AmqpError
): Effect.Effect<{ readonly firstDelay: number; readonly millis: number }, AmqpError> =>
  Effect.flatMap(start("retry", schedules.retry), (step) =>
    Effect.map(step(cause), (delay) => {
      const firstDelay = delay === undefined ? 0 : Duration.toMillis(delay)
      return { firstDelay, millis: Math.max(steadyMillis, firstDelay) }
    }))
