import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import type { Fiber } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc } from "effect-amqp-rpc"
import { TestClock } from "effect/testing"
import * as Service from "./support/Service.ts"

describe("a service without a server", () => {
  it.effect("fails a call within two round trips: nobody has it", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { Add } = yield* Service.client()
      yield* broker.setLatency("100 millis")
      const call = yield* Service.begin(Effect.flip(Add({ a: 1, b: 2 })))
      yield* TestClock.adjust("400 millis")
      yield* Service.settle
      const error = yield* Service.exitOf(call)
      assert.isTrue(Exit.isSuccess(error) && AmqpRpc.isNoServer(error.value))
      assert.isFalse(Exit.isSuccess(error) && AmqpRpc.isOutcomeUnknown(error.value))
    })))

  it.effect("keeps a call until a server comes, if it is to wait", () =>
    Service.run(Effect.gen(function*() {
      const { Add } = yield* Service.client({ service: Service.patientCalc })
      const call = yield* Service.begin(Add({ a: 1, b: 2 }))
      yield* Service.pass(5)
      assert.isUndefined(call.pollUnsafe())
      yield* Service.server({ service: Service.patientCalc })
      yield* Service.settle
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.succeed(3))
    })))

  it.effect("fails a call that waits at its deadline, and no server handles it later", () =>
    Service.run(Effect.gen(function*() {
      const { Wait } = yield* Service.client({ service: Service.patientCalc, deadline: "10 seconds" })
      const call = yield* Service.begin(Wait({ id: "late", millis: 10 }))
      yield* Service.pass(9)
      assert.isUndefined(call.pollUnsafe())
      yield* Service.pass(2)
      const failure = Service.failureOf(yield* Service.exitOf(call))
      assert.deepInclude(failure, { _tag: "DeadlineExceeded", millis: 10_000, wasSent: true })
      yield* Service.server({ service: Service.patientCalc })
      yield* Service.pass(1)
      assert.deepStrictEqual(yield* Service.lines, [])
    })))

  it.effect("fails a call again when its last server has left", () =>
    Service.run(Effect.gen(function*() {
      const { Add } = yield* Service.client()
      const { close } = yield* Service.server()
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
      yield* close
      assert.isTrue(AmqpRpc.isNoServer(yield* Effect.flip(Add({ a: 1, b: 2 }))))
    })))
})

describe("the end of a server", () => {
  it.effect("waits for its running calls, and takes no more", () =>
    Service.run(Effect.gen(function*() {
      const { Wait } = yield* Service.client()
      const first = yield* Service.server({ name: "first" })
      const call = yield* Service.begin(Wait({ id: "running", millis: 3000 }))
      yield* Service.server({ name: "second" })
      const closing = yield* Service.begin(first.close)
      const other = yield* Service.begin(Wait({ id: "other", millis: 100 }))
      yield* Service.pass(2)
      assert.deepStrictEqual(yield* Service.exitOf(other), Exit.succeed("second"))
      assert.isUndefined(closing.pollUnsafe())
      yield* Service.pass(2)
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.succeed("first"))
      assert.isDefined(closing.pollUnsafe())
    })))

  it.effect("gives back what it has not answered in time, and another server answers it", () =>
    Service.run(Effect.gen(function*() {
      const { Wait } = yield* Service.client()
      const first = yield* Service.server({ name: "first", drainTimeout: "2 seconds" })
      const call = yield* Service.begin(Wait({ id: "long", millis: 8000 }))
      yield* Service.server({ name: "second" })
      yield* Service.begin(first.close)
      yield* Service.pass(3)
      assert.deepStrictEqual(yield* Service.lines, ["first began long", "first interrupted long", "second began long"])
      yield* Service.pass(9)
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.succeed("second"))
    })))

  it.effect("fails what cannot be given back, because it has begun for good: the outcome is unknown", () =>
    Service.run(Effect.gen(function*() {
      const { Charge, Count } = yield* Service.client()
      const first = yield* Service.server({ name: "first", drainTimeout: "2 seconds" })
      const charge = yield* Service.begin(Charge({ id: "card", millis: 60_000 }))
      const stream = yield* Service.begin(Stream.runForEach(Count({ to: 1_000_000 }), () => Effect.sleep("10 millis")))
      yield* Service.server({ name: "second" })
      yield* Service.begin(first.close)
      yield* Service.pass(3)
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(charge))?._tag, "OutcomeUnknown")
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(stream))?._tag, "OutcomeUnknown")
      assert.notInclude(yield* Service.lines, "second began card")
    })))

  it.effect("fails no call while three servers are replaced, one after the other", () =>
    Service.run(Effect.gen(function*() {
      const { Wait } = yield* Service.client()
      let servers = [
        yield* Service.server({ name: "s0" }),
        yield* Service.server({ name: "s1" }),
        yield* Service.server({ name: "s2" })
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
        yield* Service.pass(3)
        const [oldest, ...others] = servers
        const closing = yield* Service.begin(oldest!.close)
        yield* Service.pass(3)
        assert.isDefined(closing.pollUnsafe())
        servers = [...others, yield* Service.server({ name: `s${i}` })]
      }
      load.isOver = true
      yield* Service.pass(5)
      assert.isAbove(calls.length, 300)
      const exits = yield* Effect.forEach(calls, Service.exitOf)
      assert.deepStrictEqual(exits.filter(Exit.isFailure), [])
    })))
})

describe("the death of a server", () => {
  it.effect("costs a call nothing: another server answers it", () =>
    Service.run(Effect.gen(function*() {
      const { Wait } = yield* Service.client()
      const first = yield* Service.server({ name: "first" })
      const call = yield* Service.begin(Wait({ id: "call", millis: 3000 }))
      yield* Service.server({ name: "second" })
      yield* Service.pass(1)
      yield* Service.kill(first.name)
      yield* Service.pass(5)
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.succeed("second"))
    })))

  it.effect("fails a call that must not be repeated within seconds, and no other server handles it", () =>
    Service.run(Effect.gen(function*() {
      const { Charge } = yield* Service.client()
      const first = yield* Service.server({ name: "first" })
      const call = yield* Service.begin(Charge({ id: "card", millis: 60_000 }))
      yield* Service.server({ name: "second" })
      yield* Service.kill(first.name)
      yield* Service.pass(5)
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(call))?._tag, "OutcomeUnknown")
      assert.notInclude(yield* Service.lines, "second began card")
    })))

  it.effect("fails a stream that has begun within seconds: parts would come twice from another server", () =>
    Service.run(Effect.gen(function*() {
      const { Count } = yield* Service.client()
      const first = yield* Service.server({ name: "first" })
      let count = 0
      const call = yield* Service.begin(Stream.runForEach(Count({ to: 1_000_000 }), () => {
        count++
        return count % 100 === 0 ? Effect.sleep("10 millis") : Effect.void
      }))
      yield* Service.server({ name: "second" })
      yield* Service.pass(1)
      yield* Service.kill(first.name)
      yield* Service.pass(6)
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(call))?._tag, "OutcomeUnknown")
      assert.isAbove(count, 100)
    })))

  it.effect("fails the calls of the last server within seconds, because the queue goes with it", () =>
    Service.run(Effect.gen(function*() {
      const { Wait } = yield* Service.client()
      const first = yield* Service.server({ name: "first" })
      const call = yield* Service.begin(Wait({ id: "call", millis: 60_000 }))
      yield* Service.pass(1)
      yield* Service.kill(first.name)
      yield* Service.pass(12)
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(call))?._tag, "OutcomeUnknown")
    })))
})
