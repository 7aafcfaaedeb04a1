import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Random, Stream } from "effect"
import type { Fiber } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Service from "./support/Service.ts"

describe("the outcomes of calls", () => {
  it.effect("are 10,000 right answers to 10,000 calls whose answers come in any order", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server({ name: "a", concurrency: 6000 })
      yield* Service.server({ name: "b", concurrency: 6000 })
      const { Later } = yield* Service.client()
      const calls: Array<Fiber.Fiber<number, unknown>> = []
      for (let n = 0; n < 10_000; n++) {
        calls.push(yield* Effect.forkChild(Later({ n, millis: yield* Random.nextIntBetween(0, 2000) })))
      }
      yield* Service.pass(4)
      const exits = yield* Effect.forEach(calls, Service.exitOf)
      assert.deepStrictEqual(exits.filter((exit, n) => !Exit.isSuccess(exit) || exit.value !== n), [])
    })))

  it.effect("do not wait for a confirm that the answer beats", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server()
      const { Add, Count } = yield* Service.client()
      yield* broker.withholdConfirms
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
      assert.strictEqual(yield* Stream.runCount(Count({ to: 1000 })), 1000)
      yield* broker.releaseConfirms
    })))

  it.effect("are the same when confirms come late, in batches and out of order", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server()
      const { Add } = yield* Service.client()
      yield* broker.reorderConfirms(7)
      const calls = yield* Effect.forEach(Array.from({ length: 100 }), (_, a) => Service.begin(Add({ a, b: 1 })))
      yield* Service.pass(1)
      assert.deepStrictEqual(
        yield* Effect.forEach(calls, Service.exitOf),
        Array.from({ length: 100 }, (_, a) => Exit.succeed(a + 1))
      )
      yield* broker.releaseConfirms
    })))

  // Ten seconds of deadline, and five of operation timeout.
  const deadline = 10
  const operationTimeout = 5

  const scenario = (frames: number) =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server({ name: "a", drainTimeout: "1 second" })
      yield* Service.server({ name: "b", drainTimeout: "1 second" })
      const { Charge, Count, Echo, Wait } = yield* Service.client({ deadline: `${deadline} seconds` })
      const before = yield* broker.operations
      yield* broker.cutAfter(frames)
      const unary: Array<Fiber.Fiber<string, unknown>> = []
      const charges: Array<Fiber.Fiber<string, unknown>> = []
      const streams: Array<Fiber.Fiber<ReadonlyArray<number>, unknown>> = []
      for (let i = 0; i < 4; i++) {
        unary.push(yield* Effect.forkChild(Echo({ text: `echo ${i}` })))
        unary.push(yield* Effect.forkChild(Wait({ id: `wait ${i}`, millis: 500 })))
        charges.push(yield* Effect.forkChild(Charge({ id: `charge ${i}`, millis: 300 })))
        streams.push(yield* Effect.forkChild(Stream.runCollect(Count({ to: 250 }))))
        yield* TestClock.adjust("20 millis")
        yield* Service.settle
      }
      yield* Service.pass(deadline + operationTimeout)
      const all: ReadonlyArray<Fiber.Fiber<unknown, unknown>> = [...unary, ...charges, ...streams]
      const exits = yield* Effect.forEach(all, Service.exitOf)
      for (const exit of exits) {
        if (Exit.isFailure(exit)) {
          assert.include(
            ["OutcomeUnknown", "DeadlineExceeded", "NoServer", "NotSent"],
            Service.failureOf(exit)?._tag,
            `after ${frames} frames: ${String(exit.cause)}`
          )
        }
      }
      for (let i = 0; i < 4; i++) {
        const echo = yield* Service.exitOf(unary[2 * i]!)
        if (Exit.isSuccess(echo)) assert.strictEqual(echo.value, `echo ${i}`)
        const stream = yield* Service.exitOf(streams[i]!)
        if (Exit.isSuccess(stream)) {
          assert.deepStrictEqual(stream.value, Array.from({ length: 250 }, (_, n) => n + 1), `after ${frames} frames`)
        }
        const began = (yield* Service.lines).filter((line) => line.endsWith(` began charge ${i}`)).length
        assert.isAtMost(began, 1, `after ${frames} frames`)
        if (Exit.isSuccess(yield* Service.exitOf(charges[i]!))) assert.strictEqual(began, 1)
      }
      return { operations: (yield* broker.operations) - before, failed: exits.filter(Exit.isFailure).length }
    }))

  it.effect("are one for each call by its deadline, and true, wherever in the frames the connections are cut", () =>
    Effect.gen(function*() {
      const whole = yield* scenario(1_000_000)
      assert.strictEqual(whole.failed, 0)
      let failed = 0
      for (let frames = 0; frames < whole.operations; frames++) failed += (yield* scenario(frames)).failed
      assert.isAbove(failed, 0)
    }))
})
