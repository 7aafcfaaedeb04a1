import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { AmqpConnection, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpConnection blocked by the broker", () => {
  it.effect("the state says so and why, and says when it is over", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.block("low on memory")
      const publishing = yield* publisher.publish({ routingKey: "invoices", body: "x" }).pipe(
        Effect.forkChild({ startImmediately: true })
      )
      yield* Virtual.settle
      yield* TestClock.adjust("1 second")
      const [publish] = (yield* connection.health).sessions
      assert.deepInclude(publish, { _tag: "Blocked", reason: "low on memory", role: "publish" })
      yield* broker.unblock
      yield* Fiber.join(publishing)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* connection.state)._tag, "Connected")
    }).pipe(Effect.provide(Virtual.layer())))
})
