import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Logger, Scope } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { client, consumers, logging, onMemory, ready, send, unacked, work } from "../support/Consuming.ts"

describe("AmqpConsumer at the end of its scope", () => {
  it.effect("lets running handlers finish, acknowledges them, releases the rest, and reports both", () => {
    const lines: Parameters<typeof logging>[0] = []
    return onMemory(Effect.gen(function*() {
      let finished = 0
      const scope = yield* Scope.make()
      yield* AmqpConsumer.make(
        work,
        () => Effect.andThen(Effect.sleep("5 seconds"), Effect.sync(() => finished++)),
        { concurrency: 3 }
      ).pipe(Scope.provide(scope))
      yield* send(1, 2, 3, 4, 5)
      yield* pass(1000)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* pass(10_000)
      yield* Fiber.join(closing)
      assert.deepStrictEqual([finished, yield* ready("work"), yield* unacked], [3, 2, 0])
      assert.isTrue(lines.some(({ message }) => message === "AMQP consumer drained"))
    })).pipe(Effect.provide(logging(lines)))
  })

  it.effect("cancels first, acknowledges then, and closes the channel at last", () => {
    const frames: Array<string> = []
    return onMemory(
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* AmqpConsumer.make(work, () => Effect.sleep("1 second"), { concurrency: 2 }).pipe(Scope.provide(scope))
        yield* send("a", "b")
        frames.length = 0
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* pass(2000)
        yield* Fiber.join(closing)
        const sent = frames.filter((frame) => frame.includes("→")).map((frame) => /→ (\S+)/.exec(frame)?.[1])
        assert.deepStrictEqual(sent, ["basic.cancel", "basic.ack", "basic.ack", "channel.close"])
      }),
      AmqpMemory.layerLogged
    ).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => frames.push(String(message)))])))
  })

  it.effect("interrupts handlers at the deadline, and their messages come again", () =>
    onMemory(Effect.gen(function*() {
      let interrupted = 0
      const scope = yield* Scope.make()
      yield* AmqpConsumer.make(
        work,
        () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)),
        { concurrency: 2, drainTimeout: "3 seconds" }
      ).pipe(Scope.provide(scope))
      yield* send("a", "b", "c")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* pass(2999)
      assert.strictEqual(interrupted, 0)
      yield* pass(1)
      yield* Fiber.join(closing)
      assert.deepStrictEqual([interrupted, yield* ready("work"), yield* unacked], [2, 3, 0])
    })))

  it.effect("is bounded also when a handler cannot be interrupted and the broker does not answer", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const forever = Latch.makeUnsafe(false)
      yield* AmqpConsumer.make(work, () => Effect.uninterruptible(forever.await), { drainTimeout: "3 seconds" })
        .pipe(Scope.provide(scope))
      yield* send("a")
      yield* broker.stopAnswering()
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      // Cancel 10 seconds, drain 3, grace 1, channel close 5.
      yield* pass(20_000)
      assert.isDefined(closing.pollUnsafe())
      yield* broker.resumeAnswering
      yield* forever.open
      yield* pass(20_000)
    })))

  it.effect("takes no messages when the consumer was on its way to the broker", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      yield* AmqpConsumer.make(work, () => Effect.sleep("20 seconds"), { prefetch: 3 }).pipe(Scope.provide(scope))
      yield* send("a", "b", "c")
      yield* broker.setLatency("500 millis")
      yield* broker.cutConnections
      yield* Effect.repeat(pass(50, 50), { until: () => Effect.map(unacked, (count) => count === 3) })
      assert.strictEqual((yield* consumers)[0]?._tag, "Detached")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* pass(3000, 100)
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [3, 0])
      assert.isUndefined(closing.pollUnsafe())
      yield* broker.setLatency(0)
      yield* pass(30_000)
      yield* Fiber.join(closing)
    })))

  it.effect("leaves nothing behind", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Effect.gen(function*() {
        yield* AmqpConsumer.make(work, () => Effect.sleep("1 second"), { concurrency: 5 })
        yield* send(1, 2, 3)
        yield* pass(2000)
      }).pipe(Effect.scoped, Effect.provide(client()))
      yield* pass(60_000)
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("of a run that is interrupted drains too", () =>
    onMemory(Effect.gen(function*() {
      let finished = 0
      const running = yield* Effect.forkChild(
        AmqpConsumer.run(work, () => Effect.andThen(Effect.sleep("5 seconds"), Effect.sync(() => finished++))),
        { startImmediately: true }
      )
      yield* settled
      yield* send("a")
      const stopping = yield* Effect.forkChild(Fiber.interrupt(running), { startImmediately: true })
      yield* pass(6000)
      yield* Fiber.join(stopping)
      assert.deepStrictEqual([finished, yield* ready("work")], [1, 0])
    })))
})
