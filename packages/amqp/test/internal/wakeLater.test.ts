import { assert, describe, it } from "@effect/vitest"
import { Effect, Scheduler } from "effect"
import * as WakeLater from "../../src/internal/wakeLater.ts"
import * as Virtual from "../support/Virtual.ts"

describe("those who are woken after a callback", () => {
  it.effect("one who throws costs nobody else their turn", () =>
    Effect.gen(function*() {
      const thrown: Array<unknown> = []
      const scheduler = new Scheduler.MixedScheduler("async", (run) => {
        const timer = setImmediate(() => {
          try {
            run()
          } catch (error) {
            thrown.push(error)
          }
        })
        return () => clearImmediate(timer)
      })
      const wakeLater = yield* Effect.provideService(WakeLater.make, Scheduler.Scheduler, scheduler)
      const woken: Array<number> = []
      const broken = new Error("the observer of a fiber is broken")
      for (const number of [1, 2, 3, 4]) {
        wakeLater(() => {
          if (number === 2) throw broken
          woken.push(number)
          if (number === 3) wakeLater(() => woken.push(5))
        })
      }
      yield* Virtual.settle
      assert.deepStrictEqual(thrown, [broken])
      assert.deepStrictEqual(woken, [1, 3, 4, 5])
    }))
})
