import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { reasonOf } from "../support/Connecting.ts"
import * as Virtual from "../support/Virtual.ts"

describe("a connection that the broker refuses for now", () => {
  it.effect("is made when another one leaves, under a limit of connections", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.limitConnections({ user: 1 })
      const scope = yield* Scope.make()
      yield* Scope.provide(AmqpConnection.make(), scope)
      const making = yield* Effect.forkChild(AmqpConnection.make(), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(making.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(Exit.isSuccess(making.pollUnsafe()!))
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect.each(["user", "vhost", "node"] as const)(
    "says that the limit of the %s is reached, and what helps",
    (of) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.limitConnections({ [of]: 1 })
        yield* AmqpConnection.make()
        const exit = yield* Effect.exit(AmqpConnection.make({ startup: { max: 0 } }))
        const reason = reasonOf(exit)
        assert.deepInclude(reason as object, { _tag: "ConnectionLimit", of, limit: 1 })
        assert.match(reason.message, /sessions: "shared"/)
      }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layer))
  )

  it.effect("is made when its virtual host has started", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.stopVhost("/")
      const refused = reasonOf(yield* Effect.exit(AmqpConnection.make({ startup: { max: 0 } })))
      assert.deepInclude(refused as object, { _tag: "VhostDown", vhost: "/" })
      const making = yield* Effect.forkChild(AmqpConnection.make(), { startImmediately: true })
      yield* TestClock.adjust("30 seconds")
      assert.isUndefined(making.pollUnsafe())
      yield* broker.startVhost("/")
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(Exit.isSuccess(making.pollUnsafe()!))
    }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layer)))

  it.effect("publishes and consumes with one connection when its sessions are shared", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.limitConnections({ user: 1 })
      yield* Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const channel = yield* AmqpChannel.AmqpChannel
        yield* publisher.publish({ exchange: Virtual.orders, routingKey: "paid", body: "x" })
        assert.strictEqual((yield* channel.get(Virtual.invoices))._tag, "Some")
        assert.strictEqual((yield* broker.counts).connections, 1)
      }).pipe(Effect.provide(Virtual.application({ connection: { sessions: "shared" } })))
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
