/**
 * Does something at once, and then not again for a while: what is asked for in between is done together when the while
 * is over. Where nothing is lately done, nothing is late.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Monotonic from "../monotonic.ts"

/** Asks for it. */
export type Pace = () => void

/** Makes the pace of an action; what was asked for and not done when the scope ends is not done. */
export const make = (action: () => void, millis: number): Effect.Effect<Pace, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const runFork = yield* FiberSet.makeRuntime<never>()
    let doneAt = Number.NEGATIVE_INFINITY
    let isAsked = false
    const act = (now: number): void => {
      isAsked = false
      doneAt = now
      action()
    }
    const onOver = Effect.sync(() => act(Monotonic.millis(clock)))
    return () => {
      if (isAsked) return
      const now = Monotonic.millis(clock)
      if (now - doneAt >= millis) return act(now)
      isAsked = true
      runFork(Effect.andThen(Effect.sleep(doneAt + millis - now), onOver))
    }
  })
