import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { logging, onMemory, ready, send, unacked, work } from "../support/Consuming.ts"

describe("AmqpConsumer: a handler's outcome", () => {
  it.effect("success acknowledges the message", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<string> = []
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.map(delivery.text, (text) => handled.push(text))
      )
      yield* send("a", "b", "c")
      assert.deepStrictEqual(handled, ["a", "b", "c"])
      assert.strictEqual(yield* unacked, 0)
      assert.strictEqual(yield* ready("work"), 0)
      assert.strictEqual((yield* consumer.counts).acked, 3)
    })))

  it.effect("a typed failure dead-letters the message by default", () =>
    onMemory(Effect.gen(function*() {
      const consumer = yield* AmqpConsumer.make(work, () => Effect.fail("no"))
      yield* send("a")
      assert.strictEqual(yield* ready("dead"), 1)
      assert.deepInclude(yield* consumer.counts, { deadLettered: 1, acked: 0 })
    })))

  it.effect("a typed failure requeues the message if the policy says so", () =>
    onMemory(Effect.gen(function*() {
      const attempts: Array<number> = []
      yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.suspend(() => attempts.push(delivery.attempts) < 3 ? Effect.fail("no") : Effect.void),
        { onFailure: "requeue" }
      )
      yield* send("a")
      assert.deepStrictEqual(attempts, [1, 2, 2])
      assert.deepStrictEqual([yield* ready("work"), yield* ready("dead"), yield* unacked], [0, 0, 0])
    })))

  it.effect("a policy that is a function decides by the error and the delivery", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<string> = []
      yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.flatMap(delivery.text, (text) => delivery.redelivered ? Effect.void : Effect.fail(text)),
        {
          onFailure(error, delivery) {
            seen.push(`${String(error)} ${delivery.attempts}`)
            return error === "bad" ? "deadLetter" : "requeue"
          }
        }
      )
      yield* send("bad", "busy")
      assert.deepStrictEqual(seen, ["bad 1", "busy 1"])
      assert.deepStrictEqual([yield* ready("dead"), yield* unacked], [1, 0])
    })))

  it.effect("an undecodable body goes to the policy as a DecodeError", () =>
    onMemory(Effect.gen(function*() {
      const Order = Schema.Struct({ id: Schema.Int })
      const policy: Array<string> = []
      const ids: Array<number> = []
      yield* AmqpConsumer.make(
        work,
        Effect.fnUntraced(function*(delivery) {
          ids.push((yield* delivery.json(Order)).id)
        }),
        {
          onFailure(error) {
            policy.push(error._tag)
            return "deadLetter"
          }
        }
      )
      yield* send("{", { id: "x" }, { id: 7 })
      assert.deepStrictEqual(policy, ["DecodeError", "DecodeError"])
      assert.deepStrictEqual(ids, [7])
      assert.strictEqual(yield* ready("dead"), 2)
    })))

  for (
    const [how, handler] of [
      ["a defect", () => Effect.die(new Error("boom"))],
      ["a throw of the function that makes it", () => {
        throw new Error("boom")
      }]
    ] as const
  ) {
    it.effect(`${how} dead-letters the message, is logged, and costs nobody else anything`, () => {
      const lines: Parameters<typeof logging>[0] = []
      return onMemory(Effect.gen(function*() {
        let handled = 0
        yield* AmqpConsumer.make(
          work,
          (delivery) =>
            Effect.flatMap(delivery.text, (text) => text === "bad" ? handler() : Effect.sync(() => handled++)),
          { concurrency: 10, onFailure: "requeue" }
        )
        yield* send("good", "bad", "good")
        assert.deepStrictEqual([handled, yield* ready("dead"), yield* unacked], [2, 1, 0])
        assert.isTrue(lines.some(({ message }) => message.startsWith("AMQP handler died")))
      })).pipe(Effect.provide(logging(lines)))
    })
  }

  it.effect("a policy that throws dead-letters the message", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, () => Effect.fail("no"), {
        onFailure() {
          throw new Error("boom")
        }
      })
      yield* send("a")
      assert.deepStrictEqual([yield* ready("dead"), yield* unacked], [1, 0])
    })))

  it.effect("a handler that always interrupts itself gets a message once more, and then it is dead-lettered", () =>
    onMemory(Effect.gen(function*() {
      let runs = 0
      yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sync(() => runs++), Effect.interrupt))
      yield* send("a")
      assert.deepStrictEqual([runs, yield* ready("dead")], [2, 1])
    })))

  it.effect("a handler that runs longer than its timeout is interrupted, and its policy decides", () =>
    onMemory(Effect.gen(function*() {
      const failures: Array<unknown> = []
      let interrupted = 0
      yield* AmqpConsumer.make(
        work,
        () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)),
        {
          handlerTimeout: "5 seconds",
          onFailure(error) {
            failures.push(error)
            return "deadLetter"
          }
        }
      )
      yield* send("a")
      yield* pass(4999)
      assert.strictEqual(interrupted, 0)
      yield* pass(1)
      assert.strictEqual(interrupted, 1)
      assert.deepInclude(failures[0], { _tag: "HandlerTimeout", millis: 5000, queue: "work" })
      assert.strictEqual(yield* ready("dead"), 1)
    })))

  it.effect("what a handler acquires is released before its message is settled, and not when the consumer ends", () =>
    onMemory(Effect.gen(function*() {
      const held: Array<string> = []
      yield* Layer.build(AmqpConsumer.layer(
        work,
        Effect.fnUntraced(function*(delivery) {
          const text = yield* Effect.acquireRelease(
            Effect.tap(delivery.text, (text) => Effect.sync(() => held.push(text))),
            (text) =>
              Effect.sync(() => {
                held.splice(held.indexOf(text), 1)
                assert.isFalse(
                  (delivery as unknown as { readonly isSettled: boolean }).isSettled,
                  `${text} was settled while its handler held something`
                )
              })
          )
          yield* Effect.sleep("1 second")
          if (text === "fails") yield* Effect.fail("no")
        }),
        { concurrency: 2, handlerTimeout: "5 seconds" }
      ))
      yield* send("works", "fails")
      assert.deepStrictEqual(held, ["works", "fails"])
      yield* pass(1000)
      assert.deepStrictEqual(held, [])
      assert.deepStrictEqual([yield* unacked, yield* ready("dead")], [0, 1])
    })))

  it.effect("a handler that acknowledges by itself is not acknowledged a second time", () =>
    onMemory(Effect.gen(function*() {
      const consumer = yield* AmqpConsumer.make(work, (delivery) => delivery.ack())
      yield* send("a", "b")
      assert.strictEqual(yield* unacked, 0)
      assert.strictEqual((yield* consumer.health)._tag, "Attached")
      assert.strictEqual((yield* consumer.counts).acked, 0)
    })))
})
