import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { AmqpTopology } from "effect-amqp"
import { AmqpRpc } from "effect-amqp-rpc"
import * as Service from "./support/Service.ts"

const counting = AmqpRpc.service("calc", {
  whenNoServer: "wait",
  queue: AmqpTopology.queue("calc", { type: "quorum" })
})

const names = (count: number): ReadonlyArray<string> => Array.from({ length: count }, (_, i) => `s${i}`)

/** Kills each server that takes a call, so many times. */
const killWhoeverTakes = Effect.fnUntraced(function*(id: string, times: number) {
  for (let i = 0; i < times; i++) {
    const taken = (yield* Service.lines).filter((line) => line.endsWith(` began ${id}`)).map((line) =>
      line.split(" ")[0]!
    )
    assert.lengthOf(taken, i + 1)
    yield* Service.kill(taken[i]!)
    yield* Service.pass(1)
  }
})

describe("a call that kills each server that takes it", () => {
  for (const [queue, service] of [["a classic queue", Service.calc], ["a quorum queue", counting]] as const) {
    it.effect(`fails as poison on ${queue} after five of them, and the others are answered`, () =>
      Service.run(Effect.gen(function*() {
        const { Add, Never, Wait } = yield* Service.client({ service, deadline: "2 minutes" })
        yield* Effect.forEach(names(5), (name) => Service.server({ name, service, drainTimeout: "1 second" }))
        const poison = yield* Service.begin(Never({ id: "poison" }))
        yield* Service.server({ name: "last", service })
        const other = yield* Service.begin(Wait({ id: "other", millis: 8000 }))
        yield* killWhoeverTakes("poison", 5)
        assert.deepInclude(Service.failureOf(yield* Service.exitOf(poison)), { _tag: "Poison", attempts: 5 })
        yield* Service.pass(20)
        assert.isTrue(Exit.isSuccess(yield* Service.exitOf(other)))
        assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
        assert.lengthOf((yield* Service.lines).filter((line) => line.endsWith("began poison")), 5)
      })))
  }

  it.effect("fails as poison sooner if a server says so, and its outcome counts as unknown", () =>
    Service.run(Effect.gen(function*() {
      const { Never } = yield* Service.client()
      yield* Effect.forEach(names(3), (name) => Service.server({ name, maxAttempts: 2, drainTimeout: "1 second" }))
      const poison = yield* Service.begin(Effect.flip(Never({ id: "poison" })))
      yield* killWhoeverTakes("poison", 2)
      const error = yield* Service.exitOf(poison)
      assert.isTrue(Exit.isSuccess(error) && AmqpRpc.isPoison(error.value))
      assert.isTrue(Exit.isSuccess(error) && AmqpRpc.isOutcomeUnknown(error.value))
    })))

  it.effect("is not begun by any other server when its client has given it up", () =>
    Service.run(Effect.gen(function*() {
      const { Never } = yield* Service.client({ deadline: "3 seconds" })
      yield* Effect.forEach(names(3), (name) => Service.server({ name, drainTimeout: "1 second" }))
      const poison = yield* Service.begin(Never({ id: "poison" }))
      yield* Service.pass(1)
      yield* killWhoeverTakes("poison", 1)
      yield* Service.pass(2)
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(poison))?._tag, "DeadlineExceeded")
      yield* Service.pass(5)
      assert.lengthOf((yield* Service.lines).filter((line) => line.endsWith("began poison")), 2)
    })))
})
