import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
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

  it.effect.each(
    [
      ["3.10", "user", /limit max-channels of the user/],
      ["4.0", "user", /limit max-channels of the user/],
      ["4.3", "user", /limit max-channels of the user/],
      ["4.0", "node", /channel_max_per_node/],
      ["4.3", "node", /channel_max_per_node/],
      ["4.3", "connection", /channel_max/]
    ] as const
  )(
    "fails what asks for a channel too many by the words of RabbitMQ %s for a %s, and says what helps",
    ([version, of, says]) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.limitChannels({ [of]: 1 })
        const connection = yield* AmqpConnection.make()
        const publisher = AmqpPublisher.make().pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
        const first = yield* publisher
        const second = yield* Effect.forkChild(Effect.exit(publisher), { startImmediately: true })
        yield* pass(40_000, 500)
        const reason = reasonOf(yield* Fiber.join(second))
        assert.deepInclude(reason as object, { _tag: "ChannelLimit", of, channelMax: 1 })
        assert.match(reason.message, says)
        yield* Effect.forkChild(first.publish({ routingKey: "nowhere", body: "x", mandatory: false }))
        yield* pass(2000, 500)
        assert.strictEqual((yield* broker.published).length, 1)
      }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layerWith({ version })))
  )

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
