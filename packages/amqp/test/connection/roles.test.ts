import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { recoveryOf } from "../../src/internal/connection/service.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpConnection: publishing and consuming", () => {
  it.effect("one role uses one session", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpPublisher.AmqpPublisher
      assert.strictEqual((yield* broker.counts).connections, 1)
    }).pipe(
      Effect.provide(
        AmqpPublisher.layer().pipe(Layer.provide(AmqpConnection.layer()), Layer.provideMerge(AmqpMemory.layer))
      )
    ))

  it.effect("two roles use two sessions of different epochs", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      yield* TestClock.adjust(0)
      assert.strictEqual((yield* broker.counts).connections, 2)
      const { sessions } = yield* connection.health
      assert.deepStrictEqual(sessions.map((state) => state.role).sort(), ["consume", "publish"])
      assert.deepStrictEqual(
        sessions.map((state) => state._tag === "Connected" ? state.epoch : 0).sort(),
        [1, 2]
      )
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("an operation takes the session of its role when it runs, not when it is written down", () =>
    Effect.gen(function*() {
      const connection = yield* AmqpConnection.AmqpConnection
      const epochOf = (role: AmqpConnection.Role) =>
        recoveryOf(connection).withSession(role, "test", (session) => Effect.succeed(session.epoch))
      const publish = epochOf("publish")
      const consume = epochOf("consume")
      assert.deepStrictEqual([yield* publish, yield* consume, yield* publish], [1, 2, 1])
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("a second session that is asked for during an outage waits for its end as the first does", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpPublisher.make()
      yield* TestClock.adjust("5 seconds")
      yield* broker.refuseConnects(1000)
      yield* broker.cutConnections
      yield* Virtual.settle
      const making = yield* Effect.forkChild(Effect.exit(AmqpChannel.make()), { startImmediately: true })
      yield* TestClock.adjust("50 seconds")
      yield* broker.refuseConnects(0)
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(making)))
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))
})
