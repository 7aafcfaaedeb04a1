/**
 * The time that tests wait for an event that must come: longer than any slow machine needs. Only a hang is cut off.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/**
 * The one limit of everything that a test waits for.
 */
export const limit = Duration.minutes(2)

/**
 * Waits until a condition holds. After `limit` dies with the expectation, which names who had to do what.
 */
export const until = <E, R>(expectation: string, condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  condition.pipe(
    Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (holds) => holds }),
    Effect.asVoid,
    within(expectation)
  )

/**
 * Waits for an effect to end. After `limit` dies with the expectation, which names who had to do what.
 */
export const within = (expectation: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.timeoutOrElse(effect, {
    duration: limit,
    orElse: () => Effect.die(new Error(`Not within ${Duration.format(limit)}: ${expectation}`))
  })
