import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { logging, onMemory, ready, send, sendWith, unacked, work } from "../support/Consuming.ts"

describe("AmqpConsumer and the broker's delivery acknowledgement timeout", () => {
  it.effect("is warned of at 80 % of it, once for each message", () => {
    const lines: Parameters<typeof logging>[0] = []
    const warnings = () => lines.filter(({ message }) => message.includes("acknowledgement timeout"))
    return onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, () => Effect.sleep("29 minutes"))
      yield* pass(600_000, 10_000)
      yield* sendWith({ messageId: "m" }, "a")
      yield* pass(1_439_000, 10_000)
      assert.strictEqual(warnings().length, 0)
      yield* pass(1000)
      assert.strictEqual(warnings().length, 1)
      assert.deepInclude(warnings()[0]!.annotations, { queue: "work", messageId: "m", deliveryTag: 1 })
      yield* pass(300_000, 10_000)
      assert.deepStrictEqual([warnings().length, yield* unacked, yield* ready("work")], [1, 0, 0])
    })).pipe(Effect.provide(logging(lines)))
  })

  it.effect("if asked for, what has been out that long is requeued, whether its handler has begun or not", () =>
    onMemory(Effect.gen(function*() {
      const begun: Array<string> = []
      yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.andThen(
            Effect.map(delivery.text, (text) => begun.push(text)),
            delivery.redelivered ? Effect.void : Effect.never
          ),
        { ackTimeout: "10 seconds", whenAckTimeout: "interrupt" }
      )
      yield* send("a", "b")
      yield* pass(7999)
      assert.deepStrictEqual(begun, ["a"])
      yield* pass(1)
      assert.deepStrictEqual([...begun].sort(), ["a", "a", "b"])
      assert.strictEqual(yield* unacked, 0)
    })))

  it.effect("if asked for, costs no message the time of its handler because of those before it", () =>
    onMemory(Effect.gen(function*() {
      const finished = new Set<string>()
      let runs = 0
      yield* AmqpConsumer.make(
        work,
        Effect.fnUntraced(function*(delivery) {
          yield* ++runs === 1 ? Effect.never : Effect.sleep("3 seconds")
          finished.add(yield* delivery.text)
        }),
        { ackTimeout: "10 seconds", whenAckTimeout: "interrupt" }
      )
      // The first one hangs, and each of the others would begin a second before its time is over.
      for (const text of ["a", "b", "c", "d", "e", "f", "g", "h"]) {
        yield* send(text)
        yield* pass(1000)
      }
      yield* pass(60_000)
      assert.strictEqual([...finished].sort().join(""), "abcdefgh")
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
    })))
})
