import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Schedule } from "effect"
import { AmqpConsumer } from "effect-amqp"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { metric, onMemory, ready, send, unacked, withOwnMetrics, work } from "../support/Consuming.ts"

describe("AmqpConsumer.runBatch", () => {
  const texts = (batch: ReadonlyArray<AmqpDelivery.Delivery>) =>
    batch.map((delivery) => new TextDecoder().decode(delivery.body)).join("")

  it.effect("hands over full batches at once and others when their window is over, one by one", () =>
    onMemory(Effect.gen(function*() {
      const batches: Array<string> = []
      yield* AmqpConsumer.runBatch(
        work,
        (batch) => Effect.andThen(Effect.sync(() => batches.push(texts(batch))), Effect.sleep("10 millis")),
        { size: 3, within: "1 second" }
      ).pipe(Effect.forkScoped({ startImmediately: true }))
      yield* settled
      yield* send("a", "b", "c", "d")
      yield* pass(999)
      assert.deepStrictEqual(batches, ["abc"])
      yield* pass(1000)
      assert.deepStrictEqual(batches, ["abc", "d"])
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
    })))

  it.effect("acknowledges a batch in one frame", () => {
    const frames: Array<string> = []
    return onMemory(
      Effect.gen(function*() {
        yield* AmqpConsumer.runBatch(work, () => Effect.void, { size: 4 }).pipe(
          Effect.forkScoped({ startImmediately: true })
        )
        yield* settled
        yield* send("a", "b", "c", "d")
        assert.strictEqual(frames.filter((frame) => frame.includes("→ basic.ack")).length, 1)
        assert.strictEqual(yield* unacked, 0)
      }),
      AmqpMemory.layerLogged
    ).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => frames.push(String(message)))])))
  })

  it.effect("applies the policy to every message of a batch that failed", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.runBatch(work, (batch) => texts(batch) === "ab" ? Effect.fail("no") : Effect.void, {
        size: 2,
        onFailure: (_, batch) => batch.length === 2 ? "deadLetter" : "requeue"
      }).pipe(Effect.forkScoped({ startImmediately: true }))
      yield* settled
      yield* send("a", "b", "c", "d")
      assert.deepStrictEqual([yield* ready("dead"), yield* ready("work"), yield* unacked], [2, 0, 0])
    })))

  it.effect("retries each message of a batch", () =>
    onMemory(Effect.gen(function*() {
      let runs = 0
      yield* AmqpConsumer.runBatch(work, () => Effect.suspend(() => ++runs === 1 ? Effect.fail("no") : Effect.void), {
        size: 2,
        onFailure: AmqpConsumer.retry(Schedule.recurs(1).pipe(Schedule.addDelay(() => Effect.succeed("1 second"))))
      }).pipe(Effect.forkScoped({ startImmediately: true }))
      yield* settled
      yield* send("a", "b")
      assert.strictEqual(yield* ready("work.retry.1000"), 2)
      yield* pass(2000)
      assert.deepStrictEqual([runs, yield* unacked, yield* ready("work")], [2, 0, 0])
    })))

  it.effect("of a batch that failed, requeues only the message whose copy could not be published", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const batches: Array<string> = []
      yield* AmqpConsumer.runBatch(
        work,
        Effect.fnUntraced(function*(batch) {
          yield* Effect.sleep("100 millis")
          if (batches.push(texts(batch)) === 1) yield* Effect.fail("no")
        }),
        {
          size: 4,
          onFailure: AmqpConsumer.retry(Schedule.spaced("10 seconds").pipe(Schedule.upTo({ times: 3 })))
        }
      ).pipe(Effect.forkScoped({ startImmediately: true }))
      yield* settled
      yield* send("a", "b", "c", "d")
      yield* broker.returnPublishes(1)
      yield* pass(100, 100)
      assert.deepStrictEqual([yield* ready("work.retry.10000"), yield* unacked], [3, 1])
      yield* pass(30_000)
      assert.deepStrictEqual(batches, ["abcd", "a", "bcd"])
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
      assert.strictEqual(yield* metric("amqp_consumer_failed", "retry"), 3)
      assert.strictEqual(yield* metric("amqp_consumer_failed", "requeue"), 1)
      assert.strictEqual(yield* metric("amqp_consumer_acked"), 4)
    })).pipe(withOwnMetrics))

  it.effect("counts as acknowledged what the handler has not settled by itself", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.runBatch(work, (batch) => batch[0].reject(), { size: 3 }).pipe(
        Effect.forkScoped({ startImmediately: true })
      )
      yield* settled
      yield* send("a", "b", "c")
      assert.deepStrictEqual([yield* ready("dead"), yield* unacked], [1, 0])
      assert.strictEqual(yield* metric("amqp_consumer_acked"), 2)
    })).pipe(withOwnMetrics))

  it.effect("never mixes messages of two channels in a batch", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const batches: Array<string> = []
      yield* AmqpConsumer.runBatch(work, (batch) => Effect.sync(() => batches.push(texts(batch))), {
        size: 3,
        within: "10 seconds"
      }).pipe(Effect.forkScoped({ startImmediately: true }))
      yield* settled
      yield* send("a", "b")
      yield* broker.cutConnections
      yield* pass(2000)
      yield* send("c")
      assert.deepStrictEqual(batches, ["abc"])
      assert.strictEqual(yield* unacked, 0)
    })))
})
