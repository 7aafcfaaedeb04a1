/**
 * The passing of virtual time, for tests over the embedded broker.
 */
import { Effect } from "effect"
import { TestClock } from "effect/testing"

/**
 * Lets everything happen that needs no time. Frames take turns of the scheduler, and the clock does not wait for them.
 */
export const settled: Effect.Effect<void> = Effect.repeat(TestClock.adjust(0), { times: 19 })

/**
 * Lets `millis` of virtual time pass in steps. Choose a step small enough that everything happens when it is due.
 */
export const pass = (millis: number, step = 1000): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* settled
    for (let left = millis; left > 0; left -= step) {
      yield* TestClock.adjust(Math.min(left, step))
      yield* settled
    }
  })
