import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, Scope } from "effect"
import { AmqpConnection, CurrentDriver } from "effect-amqp"
import { TestClock } from "effect/testing"
import { between } from "../support/Between.ts"
import { newLog } from "../support/Connecting.ts"
import * as ScriptedDriver from "../support/ScriptedDriver.ts"

interface Plan {
  readonly interval: number
  readonly max: number
  readonly startupInterval: number
  readonly startupMax: number
}

/** When the dials must happen, by the documentation alone. */
const expectedDials = (script: ReadonlyArray<ScriptedDriver.Dial>, plan: Plan): Array<number> => {
  const dials: Array<number> = []
  let now = 0
  let next = 0
  const dial = (): ScriptedDriver.Dial => {
    dials.push(now)
    return script[next++] ?? { refused: true }
  }
  let result = dial()
  for (let retry = 0; !("lasts" in result); retry++) {
    if (retry === plan.startupMax) return dials
    now += plan.startupInterval
    result = dial()
  }
  let retries = 0
  for (let isFirst = true;; isFirst = false) {
    if ("lasts" in result) {
      now += result.lasts
      if (result.lasts >= Math.max(isFirst ? 0 : 1000, plan.max === 0 ? 0 : plan.interval)) {
        retries = 0
        result = dial()
        continue
      }
    }
    if (retries === plan.max) return dials
    retries++
    now += plan.interval
    result = dial()
  }
}

describe("the retries of an AmqpConnection", () => {
  const Dial: Arbitrary.Arbitrary<ScriptedDriver.Dial> = Arbitrary.map(
    Arbitrary.all({ kind: between(0, 3), lasts: between(1, 4000) }),
    ({ kind, lasts }) => kind === 0 ? { lasts } : kind === 1 ? { hangsUp: true } : { refused: true }
  )
  it.effect.prop(
    "dials at exactly the instants that the schedules give, one budget per outage, and leaks nothing",
    {
      script: Arbitrary.array(Dial, { maxLength: 12 }),
      interval: between(1, 3000),
      max: between(0, 5),
      startupInterval: between(1, 3000),
      startupMax: between(0, 5)
    },
    ({ interval, max, script, startupInterval, startupMax }) =>
      Effect.gen(function*() {
        const log = newLog()
        const start = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const scope = yield* Scope.make()
        const connecting = yield* AmqpConnection.make({
          endpoints: "amqp://scripted",
          retry: { interval, max },
          startup: { interval: startupInterval, max: startupMax }
        }).pipe(
          Effect.provideServiceEffect(CurrentDriver.CurrentDriver, ScriptedDriver.make(script, log)),
          Scope.provide(scope),
          Effect.forkChild({ startImmediately: true })
        )
        const expected = expectedDials(script, { interval, max, startupInterval, startupMax })
        yield* TestClock.adjust(expected[expected.length - 1]! + 20_000)
        assert.deepStrictEqual(log.dials.map((at) => at - start), expected)
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.await(connecting)
        assert.deepStrictEqual({ open: log.open, listeners: log.listeners }, { open: 0, listeners: 0 })
      }),
    { arbitrary: { runs: 300 } }
  )
})
