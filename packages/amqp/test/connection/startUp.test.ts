import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { AmqpConnection, AmqpError, CurrentDriver } from "effect-amqp"
import { TestClock } from "effect/testing"
import { newLog, reasonOf } from "../support/Connecting.ts"
import * as ScriptedDriver from "../support/ScriptedDriver.ts"

describe("AmqpConnection at start-up", () => {
  const driverThatFailsWith = (reason: AmqpError.AmqpErrorReason, dials: Array<string>) =>
    Layer.succeed(CurrentDriver.CurrentDriver, {
      name: "failing",
      connect: (options) =>
        Effect.suspend(() => {
          dials.push(options.host)
          return Effect.fail(new AmqpError.AmqpError({ operation: "connect", reason }))
        })
    })
  const address = { host: "a", port: 5672 }

  it.effect("refused credentials fail at once, without a retry", () =>
    Effect.gen(function*() {
      const dials: Array<string> = []
      const exit = yield* AmqpConnection.make({ endpoints: "amqp://a" }).pipe(
        Effect.provide(
          driverThatFailsWith(new AmqpError.AuthenticationRefused({ address, replyText: "ACCESS_REFUSED" }), dials)
        ),
        Effect.exit
      )
      assert.strictEqual(reasonOf(exit)._tag, "AuthenticationRefused")
      assert.strictEqual(dials.length, 1)
    }))

  it.effect("a refused virtual host fails at once, without a retry", () =>
    Effect.gen(function*() {
      const dials: Array<string> = []
      const exit = yield* AmqpConnection.make({ endpoints: "amqp://a/nope" }).pipe(
        Effect.provide(driverThatFailsWith(
          new AmqpError.VhostRefused({ address, vhost: "nope", replyCode: 530, replyText: "NOT_ALLOWED" }),
          dials
        )),
        Effect.exit
      )
      assert.strictEqual(reasonOf(exit)._tag, "VhostRefused")
      assert.strictEqual(dials.length, 1)
    }))

  it.effect("each attempt tries every endpoint once, and the layer fails with what the last attempt failed with", () =>
    Effect.gen(function*() {
      const dials: Array<string> = []
      const building = yield* Layer.build(
        AmqpConnection.layer({ endpoints: ["amqp://a", "amqp://b", "amqp://c"], startup: { max: 1 } })
      ).pipe(
        Effect.provide(
          driverThatFailsWith(new AmqpError.ConnectionRefused({ address, detail: "ECONNREFUSED" }), dials)
        ),
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("1 second")
      const exit = yield* Fiber.join(building)
      assert.strictEqual(reasonOf(exit)._tag, "ConnectionRefused")
      assert.deepStrictEqual(dials.slice(0, 3).sort(), ["a", "b", "c"])
      assert.deepStrictEqual(dials.slice(3).sort(), ["a", "b", "c"])
    }))

  it.effect("a session that ends before it is announced is an attempt of the start-up budget", () =>
    Effect.gen(function*() {
      const log = newLog()
      const building = yield* AmqpConnection.make({ startup: { max: 2 } }).pipe(
        Effect.provideServiceEffect(
          CurrentDriver.CurrentDriver,
          ScriptedDriver.make(Array.from({ length: 200 }, () => ({ hangsUp: true })), log)
        ),
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(log.dials, [0, 1000, 2000])
      assert.strictEqual(reasonOf(yield* Fiber.join(building))._tag, "ConnectionLost")
    }))

  it.effect("a peer that never answers fails the attempt at the connect deadline", () =>
    Effect.gen(function*() {
      const building = yield* AmqpConnection.make({ connectTimeout: "3 seconds", startup: { max: 0 } }).pipe(
        Effect.provide(Layer.succeed(CurrentDriver.CurrentDriver, { name: "silent", connect: () => Effect.never })),
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(building.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(reasonOf(yield* Fiber.join(building))._tag, "ConnectTimeout")
    }))
})
