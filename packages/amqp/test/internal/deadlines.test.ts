import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import { Deadlines } from "../../src/internal/publisher/deadlines.ts"
import * as Virtual from "../support/Virtual.ts"

describe("the deadlines of messages", () => {
  it.effect("each message expires at its own deadline, whatever was settled before it", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const now = () => clock.currentTimeMillisUnsafe()
      const open: Array<{ readonly submittedAt: number }> = []
      const expired: Array<{ readonly of: number; readonly at: number }> = []
      const deadlines = new Deadlines({
        oldest: () => open[0],
        expireDue() {
          while (open.length > 0 && open[0]!.submittedAt + 1000 <= now()) {
            expired.push({ of: open.shift()!.submittedAt, at: now() })
          }
        },
        millis: 1000,
        now
      })
      const submit = (submittedAt: number) => {
        const message = { submittedAt }
        if (open.push(message) === 1) deadlines.begin()
        return message
      }
      const settle = (message: { readonly submittedAt: number }) => {
        open.splice(open.indexOf(message), 1)
      }
      yield* Effect.forkScoped(deadlines.run)
      const messages: Array<{ readonly submittedAt: number }> = []
      for (const at of [0, 10, 10, 400, 990]) {
        yield* TestClock.setTime(at)
        messages.push(submit(at))
        yield* Virtual.settle
      }
      settle(messages[0]!)
      settle(messages[3]!)
      yield* TestClock.setTime(5000)
      assert.deepStrictEqual(expired, [{ of: 10, at: 1010 }, { of: 10, at: 1010 }, { of: 990, at: 1990 }])

      settle(submit(5000))
      yield* TestClock.setTime(9000)
      submit(9000)
      yield* TestClock.setTime(20_000)
      assert.deepStrictEqual(expired.slice(3), [{ of: 9000, at: 10_000 }])
    }))
})
