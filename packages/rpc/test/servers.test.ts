import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import type { Fiber } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc } from "effect-amqp-rpc"
import { TestClock } from "effect/testing"
import {
  begin,
  client,
  exitOf,
  failureOf,
  kill,
  lines,
  pass,
  patientCalc,
  run,
  server,
  settle
} from "./support/Service.ts"

describe("a service without a server", () => {
  it.effect("fails a call within two round trips: nobody has it", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { Add } = yield* client()
      yield* broker.setLatency("100 millis")
      const call = yield* begin(Effect.flip(Add({ a: 1, b: 2 })))
      yield* TestClock.adjust("400 millis")
      yield* settle
      const error = yield* exitOf(call)
      assert.isTrue(Exit.isSuccess(error) && AmqpRpc.isNoServer(error.value))
      assert.isFalse(Exit.isSuccess(error) && AmqpRpc.isOutcomeUnknown(error.value))
    })))

  it.effect("keeps a call until a server comes, if it is to wait", () =>
    run(Effect.gen(function*() {
      const { Add } = yield* client({ service: patientCalc })
      const call = yield* begin(Add({ a: 1, b: 2 }))
      yield* pass(5)
      assert.isUndefined(call.pollUnsafe())
      yield* server({ service: patientCalc })
      yield* settle
      assert.deepStrictEqual(yield* exitOf(call), Exit.succeed(3))
    })))

  it.effect("fails a call that waits at its deadline, and no server handles it later", () =>
    run(Effect.gen(function*() {
      const { Wait } = yield* client({ service: patientCalc, deadline: "10 seconds" })
      const call = yield* begin(Wait({ id: "late", millis: 10 }))
      yield* pass(9)
      assert.isUndefined(call.pollUnsafe())
      yield* pass(2)
      const failure = failureOf(yield* exitOf(call))
      assert.deepInclude(failure, { _tag: "DeadlineExceeded", millis: 10_000, wasSent: true })
      yield* server({ service: patientCalc })
      yield* pass(1)
      assert.deepStrictEqual(yield* lines, [])
    })))

  it.effect("fails a call again when its last server has left", () =>
    run(Effect.gen(function*() {
      const { Add } = yield* client()
      const { close } = yield* server()
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
      yield* close
      assert.isTrue(AmqpRpc.isNoServer(yield* Effect.flip(Add({ a: 1, b: 2 }))))
    })))
})

describe("the end of a server", () => {
  it.effect("waits for its running calls, and takes no more", () =>
    run(Effect.gen(function*() {
      const { Wait } = yield* client()
      const first = yield* server({ name: "first" })
      const call = yield* begin(Wait({ id: "running", millis: 3000 }))
      yield* server({ name: "second" })
      const closing = yield* begin(first.close)
      const other = yield* begin(Wait({ id: "other", millis: 100 }))
      yield* pass(2)
      assert.deepStrictEqual(yield* exitOf(other), Exit.succeed("second"))
      assert.isUndefined(closing.pollUnsafe())
      yield* pass(2)
      assert.deepStrictEqual(yield* exitOf(call), Exit.succeed("first"))
      assert.isDefined(closing.pollUnsafe())
    })))

  it.effect("gives back what it has not answered in time, and another server answers it", () =>
    run(Effect.gen(function*() {
      const { Wait } = yield* client()
      const first = yield* server({ name: "first", drainTimeout: "2 seconds" })
      const call = yield* begin(Wait({ id: "long", millis: 8000 }))
      yield* server({ name: "second" })
      yield* begin(first.close)
      yield* pass(3)
      assert.deepStrictEqual(yield* lines, ["first began long", "first interrupted long", "second began long"])
      yield* pass(9)
      assert.deepStrictEqual(yield* exitOf(call), Exit.succeed("second"))
    })))

  it.effect("fails what cannot be given back, because it has begun for good: the outcome is unknown", () =>
    run(Effect.gen(function*() {
      const { Charge, Count } = yield* client()
      const first = yield* server({ name: "first", drainTimeout: "2 seconds" })
      const charge = yield* begin(Charge({ id: "card", millis: 60_000 }))
      const stream = yield* begin(Stream.runForEach(Count({ to: 1_000_000 }), () => Effect.sleep("10 millis")))
      yield* server({ name: "second" })
      yield* begin(first.close)
      yield* pass(3)
      assert.strictEqual(failureOf(yield* exitOf(charge))?._tag, "OutcomeUnknown")
      assert.strictEqual(failureOf(yield* exitOf(stream))?._tag, "OutcomeUnknown")
      assert.notInclude(yield* lines, "second began card")
    })))

  it.effect("fails no call while three servers are replaced, one after the other", () =>
    run(Effect.gen(function*() {
      const { Wait } = yield* client()
      let servers = [
        yield* server({ name: "s0" }),
        yield* server({ name: "s1" }),
        yield* server({ name: "s2" })
      ]
      const calls: Array<Fiber.Fiber<string, unknown>> = []
      const load = { isOver: false }
      yield* Effect.forkScoped(
        Effect.gen(function*() {
          for (let i = 0; !load.isOver; i++) {
            calls.push(yield* Effect.forkScoped(Wait({ id: `${i}`, millis: 1500 })))
            yield* Effect.sleep("50 millis")
          }
        })
      )
      for (let i = 3; i < 6; i++) {
        yield* pass(3)
        const [oldest, ...others] = servers
        const closing = yield* begin(oldest!.close)
        yield* pass(3)
        assert.isDefined(closing.pollUnsafe())
        servers = [...others, yield* server({ name: `s${i}` })]
      }
      load.isOver = true
      yield* pass(5)
      assert.isAbove(calls.length, 300)
      const exits = yield* Effect.forEach(calls, exitOf)
      assert.deepStrictEqual(exits.filter(Exit.isFailure), [])
    })))
})

describe("the death of a server", () => {
  it.effect("costs a call nothing: another server answers it", () =>
    run(Effect.gen(function*() {
      const { Wait } = yield* client()
      const first = yield* server({ name: "first" })
      const call = yield* begin(Wait({ id: "call", millis: 3000 }))
      yield* server({ name: "second" })
      yield* pass(1)
      yield* kill(first.name)
      yield* pass(5)
      assert.deepStrictEqual(yield* exitOf(call), Exit.succeed("second"))
    })))

  it.effect("fails a call that must not be repeated within seconds, and no other server handles it", () =>
    run(Effect.gen(function*() {
      const { Charge } = yield* client()
      const first = yield* server({ name: "first" })
      const call = yield* begin(Charge({ id: "card", millis: 60_000 }))
      yield* server({ name: "second" })
      yield* kill(first.name)
      yield* pass(5)
      assert.strictEqual(failureOf(yield* exitOf(call))?._tag, "OutcomeUnknown")
      assert.notInclude(yield* lines, "second began card")
    })))

  it.effect("fails a stream that has begun within seconds: parts would come twice from another server", () =>
    run(Effect.gen(function*() {
      const { Count } = yield* client()
      const first = yield* server({ name: "first" })
      let count = 0
      const call = yield* begin(Stream.runForEach(Count({ to: 1_000_000 }), () => {
        count++
        return count % 100 === 0 ? Effect.sleep("10 millis") : Effect.void
      }))
      yield* server({ name: "second" })
      yield* pass(1)
      yield* kill(first.name)
      yield* pass(6)
      assert.strictEqual(failureOf(yield* exitOf(call))?._tag, "OutcomeUnknown")
      assert.isAbove(count, 100)
    })))

  it.effect("fails the calls of the last server within seconds, because the queue goes with it", () =>
    run(Effect.gen(function*() {
      const { Wait } = yield* client()
      const first = yield* server({ name: "first" })
      const call = yield* begin(Wait({ id: "call", millis: 60_000 }))
      yield* pass(1)
      yield* kill(first.name)
      yield* pass(12)
      assert.strictEqual(failureOf(yield* exitOf(call))?._tag, "OutcomeUnknown")
    })))
})
