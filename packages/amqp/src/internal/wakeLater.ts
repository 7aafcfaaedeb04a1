/**
 * Resuming a fiber runs it at once, up to where it next waits. A driver's callback must not run user code, so whatever
 * it wakes is woken in a task of Effect's scheduler after it: one task for all that the same batch of frames woke. A
 * microtask would be sooner, but the scheduler runs many tasks before it lets microtasks in: a fiber that yields, as a
 * test with TestClock does, would wait for what cannot come.
 */
import * as Effect from "effect/Effect"
import { Scheduler } from "effect/Scheduler"

/** Wakes somebody when the driver's callback, and the batch of frames that it belongs to, is over. */
export type WakeLater = (wake: () => void) => void

/** Makes a queue of those to be woken, on the scheduler of the present fiber. */
export const make: Effect.Effect<WakeLater> = Effect.map(Scheduler, (scheduler) => {
  const dispatcher = scheduler.makeDispatcher()
  let pending: Array<() => void> = []
  const flush = (): void => {
    const wakes = pending
    pending = []
    let woken = 0
    try {
      while (woken < wakes.length) wakes[woken++]!()
    } finally {
      // An observer of a fiber that was woken may throw; that is to cost nobody else their turn.
      if (woken < wakes.length) {
        pending = [...wakes.slice(woken), ...pending]
        dispatcher.scheduleTask(flush, 0)
      }
    }
  }
  return (wake) => {
    if (pending.push(wake) === 1) dispatcher.scheduleTask(flush, 0)
  }
})
