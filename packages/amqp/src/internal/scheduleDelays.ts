/**
 * A Schedule as the delays that it asks for, one after the other, for code that must know a delay before it sleeps.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"

/** The next delay of a schedule, or none when it is over; each call is one recurrence. */
export type NextDelay<Input> = (now: number, input: Input) => Effect.Effect<Duration.Duration | undefined>

/** Starts a schedule afresh. */
export const start = <Input>(schedule: Schedule.Schedule<unknown, Input>): Effect.Effect<NextDelay<Input>> =>
  Effect.map(Schedule.toStep(schedule), (step) => (now, input) =>
    step(now, input).pipe(
      Effect.map(([, delay]): Duration.Duration | undefined => delay),
      Pull.catchDone(() => Effect.as(Effect.void, undefined))
    ))
