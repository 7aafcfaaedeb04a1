import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { AmqpChannel, AmqpConsumer } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, ready, send, unacked, work } from "../support/Consuming.ts"

describe("AmqpConsumer.stream", () => {
  it.effect("emits deliveries that its reader acknowledges, as many at once as the prefetch", () =>
    onMemory(Effect.gen(function*() {
      yield* send("a", "b", "c")
      const texts = yield* AmqpConsumer.stream(work, { prefetch: 2 }).pipe(
        Stream.mapEffect((delivery) => Effect.tap(delivery.text, delivery.ack())),
        Stream.take(3),
        Stream.runCollect
      )
      assert.deepStrictEqual(texts, ["a", "b", "c"])
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
    })))

  it.effect("goes on for as long as messages come, one at a time too", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<string> = []
      yield* AmqpConsumer.stream(work).pipe(
        Stream.runForEach((delivery) =>
          Effect.gen(function*() {
            seen.push(yield* delivery.text)
            yield* delivery.ack()
          })
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* settled
      for (const text of ["a", "b", "c", "d"]) {
        yield* send(text)
        yield* settled
      }
      assert.deepStrictEqual(seen, ["a", "b", "c", "d"])
    })))

  it.effect("goes on after a lost connection, without what was lost with it", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const seen: Array<string> = []
      yield* AmqpConsumer.stream(work).pipe(
        Stream.mapEffect((delivery) =>
          Effect.gen(function*() {
            yield* Effect.sleep("1 second")
            seen.push(`${yield* delivery.text} ${delivery.isStale} ${yield* delivery.ack()}`)
          })
        ),
        Stream.runDrain,
        Effect.forkScoped({ startImmediately: true })
      )
      yield* settled
      yield* send("a")
      yield* broker.cutConnections
      yield* pass(5000)
      assert.deepStrictEqual(seen, ["a true false", "a false true"])
    })))

  it.effect("returns what was not acknowledged when it ends", () =>
    onMemory(Effect.gen(function*() {
      yield* send("a", "b")
      yield* AmqpConsumer.stream(work).pipe(Stream.take(1), Stream.runDrain)
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [2, 0])
    })))

  it.effect("fails when the consumer cannot come back", () =>
    onMemory(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* channel.declareQueue({ name: "elsewhere" })
      const reading = yield* Effect.forkChild(
        Effect.flip(Stream.runDrain(AmqpConsumer.stream("elsewhere", { missingQueueTimeout: "30 seconds" }))),
        {
          startImmediately: true
        }
      )
      yield* settled
      yield* channel.deleteQueue("elsewhere")
      yield* pass(60_000)
      assert.strictEqual((yield* Fiber.join(reading)).reason._tag, "NotFound")
    })))
})
