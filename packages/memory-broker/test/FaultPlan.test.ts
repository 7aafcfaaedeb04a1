import { assert, describe, it } from "@effect/vitest"
import { Effect, Ref } from "effect"
import { FaultPlan } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Client from "./contract/Client.ts"
import * as Memory from "./contract/memory.ts"

/** Connect again and again for as long as the plan lasts, and note the instants at which connections ended. */
const endings = Effect.fnUntraced(function*(plan: FaultPlan.FaultPlan) {
  const noted = yield* Ref.make<ReadonlyArray<number>>([])
  const now = Effect.clockWith((clock) => clock.currentTimeMillis)
  const living = Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    Client.write(channel, { routingKey: "nowhere", mandatory: true })
    yield* Client.ending(connection)
    const at = yield* now
    yield* Ref.update(noted, (all) => [...all, at])
  }).pipe(Effect.scoped, Effect.timeoutOption("5 seconds"), Effect.ignore, Effect.andThen(Effect.sleep(100)))
  yield* Effect.forkScoped(Effect.forever(living), { startImmediately: true })
  yield* Effect.forkScoped(FaultPlan.play(plan), { startImmediately: true })
  yield* TestClock.adjust(plan.duration)
  return yield* Ref.get(noted)
})

const observed = (plan: FaultPlan.FaultPlan) =>
  endings(plan).pipe(Effect.scoped, Effect.provide(Memory.layer("4.0")), Effect.provide(TestClock.layer()))

describe("FaultPlan", () => {
  it("is decided by its seed", () => {
    const plan = (seed: number) => FaultPlan.random({ seed, duration: "1 minute" })
    assert.deepStrictEqual(plan(1), plan(1))
    assert.notDeepEqual(plan(1).steps, plan(2).steps)
    assert.isAbove(plan(1).steps.length, 30)
  })

  it("holds only the kinds that are asked for", () => {
    const plan = FaultPlan.random({ seed: 1, duration: "1 minute", kinds: ["Block", "Crash"] })
    assert.sameMembers([...new Set(plan.steps.map(({ fault }) => fault._tag))], ["Block", "Crash"])
  })

  it.effect("does the same each time that it is played", () =>
    Effect.gen(function*() {
      const plan = FaultPlan.random({ seed: 7, duration: "1 minute" })
      const first = yield* observed(plan)
      assert.isAbove(first.length, 5)
      assert.deepStrictEqual(yield* observed(plan), first)
    }))

  it.effect("leaves a broker without faults", () =>
    Effect.gen(function*() {
      for (let seed = 0; seed < 50; seed++) {
        yield* Effect.gen(function*() {
          const plan = FaultPlan.random({ seed, duration: "20 seconds" })
          yield* Effect.forkScoped(FaultPlan.play(plan), { startImmediately: true })
          yield* TestClock.adjust(plan.duration)
          const channel = yield* Client.session
          assert.isTrue(yield* Client.publish(channel, { routingKey: "nowhere" }), `seed ${seed}`)
        }).pipe(Effect.scoped, Effect.provide(Memory.layer("4.0")), Effect.provide(TestClock.layer()))
      }
    }))
})
