/**
 * How long tests wait for what must come: so long that no machine is too slow for it. Only a hang is cut off.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/**
 * The one limit of everything that a test waits for.
 */
export const limit = Duration.minutes(2)

/**
 * Waits until a condition holds. After `limit` it dies with the expectation, which names who was to do what.
 */
export const until = <E, R>(expectation: string, condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  condition.pipe(
    Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (holds) => holds }),
    Effect.asVoid,
    within(expectation)
  )

/**
 * Waits for an effect to end. After `limit` it dies with the expectation, which names who was to do what.
 */
export const within = (expectation: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.timeoutOrElse(effect, {
    duration: limit,
    orElse: () => Effect.die(new Error(`Not within ${Duration.format(limit)}: ${expectation}`))
  })
