import { assert, describe, it } from "@effect/vitest"
import { Effect, Latch } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, ready, send, unacked, work } from "../support/Consuming.ts"

describe("the concurrency of an AmqpConsumer", () => {
  it.effect("no more handlers run at once than it says, and no more messages are out than the prefetch", () =>
    onMemory(Effect.gen(function*() {
      let most = 0
      let running = 0
      const consumer = yield* AmqpConsumer.make(
        work,
        () =>
          Effect.acquireUseRelease(
            Effect.sync(() => most = Math.max(most, ++running)),
            () => Effect.sleep("1 second"),
            () => Effect.sync(() => running--)
          ),
        { concurrency: 3, prefetch: 5 }
      )
      yield* send(...Array.from({ length: 12 }, (_, i) => i))
      assert.deepStrictEqual([yield* unacked, yield* ready("work")], [5, 7])
      assert.strictEqual((yield* consumer.counts).inProgress, 3)
      yield* pass(4000)
      assert.deepStrictEqual([most, (yield* consumer.counts).acked, yield* unacked], [3, 12, 0])
    })))

  it.effect("at concurrency 1 the order of the queue is kept", () =>
    onMemory(Effect.gen(function*() {
      const order: Array<string> = []
      yield* AmqpConsumer.make(
        work,
        Effect.fnUntraced(function*(delivery) {
          const text = yield* delivery.text
          yield* Effect.sleep(Number(text))
          order.push(text)
        })
      )
      yield* send("30", "10", "20", "0")
      yield* pass(1000)
      assert.deepStrictEqual(order, ["30", "10", "20", "0"])
    })))

  it.effect("with orderedBy, messages of one key keep their order and others overtake them", () =>
    onMemory(Effect.gen(function*() {
      const order: Array<string> = []
      yield* AmqpConsumer.make(
        work,
        Effect.fnUntraced(function*(delivery) {
          const text = yield* delivery.text
          yield* Effect.sleep(Number(text.slice(1)))
          order.push(text)
        }),
        { concurrency: 10, orderedBy: (delivery) => String.fromCharCode(delivery.body[0]!) }
      )
      yield* send("a50", "a10", "b20", "a1", "b1")
      yield* pass(1000)
      assert.deepStrictEqual(order, ["b20", "b1", "a50", "a10", "a1"])
      assert.strictEqual(yield* unacked, 0)
    })))

  it.effect("with orderedBy, messages without a key are handled one by one too", () =>
    onMemory(Effect.gen(function*() {
      let handled = 0
      yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => handled++)), {
        concurrency: 3,
        orderedBy: (delivery) => delivery.properties.correlationId!
      })
      yield* send("a", "b", "c")
      yield* pass(1000)
      assert.strictEqual(handled, 1)
      yield* pass(2000)
      assert.deepStrictEqual([handled, yield* unacked], [3, 0])
    })))

  it.effect("a function for orderedBy that throws dead-letters the message, and no other", () =>
    onMemory(Effect.gen(function*() {
      let handled = 0
      yield* AmqpConsumer.make(work, () => Effect.sync(() => handled++), {
        concurrency: 2,
        orderedBy: (delivery) => JSON.parse(new TextDecoder().decode(delivery.body)).key
      })
      yield* send("{", { key: "a" }, { key: "a" })
      assert.deepStrictEqual([handled, yield* ready("dead"), yield* unacked], [2, 1, 0])
    })))

  it.effect("acknowledgements out of order never acknowledge a message whose handler still runs", () =>
    onMemory(Effect.gen(function*() {
      const gate = Latch.makeUnsafe(false)
      // They are all there when the consumer starts, so that they are handled, and acknowledged, in one turn.
      yield* send("a", "slow", "b", "c", "d")
      yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.flatMap(delivery.text, (text) => text === "slow" ? gate.await : Effect.void),
        { concurrency: 5 }
      )
      yield* settled
      assert.strictEqual(yield* unacked, 1)
      yield* gate.open
      yield* settled
      assert.strictEqual(yield* unacked, 0)
    })))

  it.effect("a handler that refuses all messages up to its own refuses none that was handled", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<string> = []
      yield* send("a", "b", "c")
      yield* AmqpConsumer.make(
        work,
        Effect.fnUntraced(function*(delivery) {
          const text = yield* delivery.text
          seen.push(text)
          if (text === "c" && !delivery.redelivered) yield* delivery.nack({ multiple: true, requeue: true })
        }),
        { concurrency: 3 }
      )
      yield* settled
      assert.deepStrictEqual(seen, ["a", "b", "c", "c"])
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
    })))
})
