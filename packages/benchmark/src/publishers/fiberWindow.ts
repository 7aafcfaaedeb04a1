import * as Effect from "effect/Effect"
import type { Timeline } from "./Publisher.ts"

/** Keeps a window of fibers publishing, each one message after the other. */
export const fiberWindow = <E, R>(
  count: number,
  inFlight: number,
  publish: Effect.Effect<void, E, R>,
  timeline: Timeline | undefined
): Effect.Effect<void, E, R> => {
  let next = 0
  const one = timeline === undefined
    ? () => {
      next++
      return publish
    }
    : () => {
      const index = next++
      timeline.written(index)
      return Effect.map(publish, () => timeline.confirmed(index))
    }
  const fiber = Effect.whileLoop({ while: () => next < count, body: one, step() {} })
  return Effect.forEach(Array.from({ length: inFlight }), () => fiber, { concurrency: "unbounded", discard: true })
}
