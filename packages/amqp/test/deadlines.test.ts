import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import { Deadlines } from "../src/internal/deadlines.ts"
import type { Entry } from "../src/internal/publishQueue.ts"
import * as Virtual from "./support/Virtual.ts"

// What the deadlines look at; the rest of a message is nothing to them.
const submit = (submittedAt: number): Entry => ({ state: "InFlight", abandoned: false, submittedAt }) as Entry

describe("the deadlines of messages", () => {
  it.effect("each message expires at its own deadline, whatever was settled before it", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const expired: Array<{ readonly of: number; readonly at: number }> = []
      const deadlines = new Deadlines(clock, 1000, (entry) => {
        entry.state = "Settled"
        expired.push({ of: entry.submittedAt, at: clock.currentTimeMillisUnsafe() })
      })
      yield* Effect.forkScoped(deadlines.run)
      const entries: Array<Entry> = []
      for (const now of [0, 10, 10, 400, 990]) {
        yield* TestClock.setTime(now)
        const entry = submit(now)
        entries.push(entry)
        deadlines.add(entry)
        yield* Virtual.settle
      }
      entries[0]!.state = "Settled"
      entries[3]!.abandoned = true
      yield* TestClock.setTime(5000)
      assert.deepStrictEqual(expired, [{ of: 10, at: 1010 }, { of: 10, at: 1010 }, { of: 990, at: 1990 }])

      const later = submit(5000)
      deadlines.add(later)
      later.state = "Settled"
      deadlines.rest()
      yield* TestClock.setTime(9000)
      deadlines.add(submit(9000))
      yield* TestClock.setTime(20_000)
      assert.deepStrictEqual(expired[3], { of: 9000, at: 10_000 })
    }))

  it.effect("a message that is slow to settle does not hold on to those that came after it", () =>
    Effect.gen(function*() {
      const deadlines = new Deadlines(yield* Clock.Clock, 1000, () => {})
      deadlines.add(submit(0))
      for (let count = 0; count < 100_000; count++) {
        const entry = submit(0)
        deadlines.add(entry)
        entry.state = "Settled"
      }
      assert.isAtMost(deadlines.size, 8)
    }))

  it.effect("messages that were settled are let go of when there are no more", () =>
    Effect.gen(function*() {
      const deadlines = new Deadlines(yield* Clock.Clock, 1000, () => {})
      const entries = Array.from({ length: 100 }, () => submit(0))
      for (const entry of entries) deadlines.add(entry)
      for (const entry of entries) entry.state = "Settled"
      assert.strictEqual(deadlines.size, 100)
      deadlines.rest()
      assert.strictEqual(deadlines.size, 0)
    }))
})
