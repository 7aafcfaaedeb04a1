import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Virtual from "./support/Virtual.ts"

const publish = (...bodies: ReadonlyArray<string>) =>
  Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) =>
    Effect.forEach(bodies, (body) => publisher.publish({ exchange: Virtual.orders, routingKey: "paid", body }), {
      discard: true
    }))

describe("AmqpConsumer", () => {
  it.effect("a message is acknowledged when its handler succeeds", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const handled: Array<string> = []
      const consumer = yield* AmqpConsumer.make(
        Virtual.invoices,
        (delivery) => Effect.map(delivery.text, (text) => handled.push(text))
      )
      yield* publish("a", "b", "c")
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(handled, ["a", "b", "c"])
      assert.strictEqual((yield* broker.counts).unacked, 0)
      assert.strictEqual((yield* consumer.counts).acked, 3)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("retry", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const handled: Array<string> = []
      const worker = AmqpConsumer.layer(
        Virtual.invoices,
        Effect.fnUntraced(function*(delivery) {
          handled.push(yield* delivery.text)
          console.log(delivery.attempts, delivery.exchange, delivery.routingKey, yield* Effect.clockWith((c) => c.currentTimeMillis))
          yield* Effect.fail("no")
        }),
        { onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 }))) }
      )
      yield* Layer.launch(worker).pipe(Effect.forkScoped)
      yield* TestClock.adjust(0)
      yield* publish("a")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* broker.depth("invoices.parked"), 1)
      console.log(yield* Effect.flatMap(AmqpConnection.AmqpConnection, (c) => c.health))
    }).pipe(Effect.provide(Virtual.layer())))
})
