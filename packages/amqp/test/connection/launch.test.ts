import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer } from "effect"
import { AmqpConnection, AmqpError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { recoveryOf } from "../../src/internal/connection/service.ts"
import { reasonOf } from "../support/Connecting.ts"
import * as Virtual from "../support/Virtual.ts"

const ended = new AmqpError.AmqpError({
  operation: "consume invoices",
  reason: new AmqpError.AccessRefused({ replyText: "ACCESS_REFUSED" })
})

describe("AmqpConnection.launch", () => {
  const worker = Layer.effectDiscard(AmqpConnection.AmqpConnection)

  it.effect("fails with the reason when the connection is given up, after everything was released", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      let isReleased = false
      const released = Layer.effectDiscard(Effect.addFinalizer(() => Effect.sync(() => isReleased = true)))
      const running = yield* Layer.merge(worker, released).pipe(
        Layer.provide(AmqpConnection.layer({ retry: { interval: "1 second", max: 2 } })),
        AmqpConnection.launch,
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(running.pollUnsafe())
      yield* broker.crash
      yield* Virtual.settle
      yield* TestClock.adjust("1 minute")
      const exit = running.pollUnsafe()
      assert.isDefined(exit)
      if (exit !== undefined && Exit.isSuccess(exit)) {
        assert.strictEqual(reasonOf(exit.value)._tag, "ReconnectAbandoned")
      }
      assert.isTrue(isReleased)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("fails with the reason when a consumer cannot come back", () =>
    Effect.gen(function*() {
      const consumer = Layer.effectDiscard(Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        yield* recoveryOf(connection).watchConsumer(
          () => ({ _tag: "Detached", queue: "invoices", since: new Date(0), cause: ended, ended: true }),
          Effect.andThen(Effect.sleep("3 seconds"), Effect.fail(ended))
        )
      }))
      const running = yield* consumer.pipe(
        Layer.provide(AmqpConnection.layer()),
        AmqpConnection.launch,
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(running.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      const exit = running.pollUnsafe()
      assert.isDefined(exit)
      if (exit !== undefined && Exit.isSuccess(exit)) assert.strictEqual(reasonOf(exit.value), ended.reason)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("goes on for ever when the retries are infinite", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const running = yield* worker.pipe(
        Layer.provide(AmqpConnection.layer({ retry: { interval: "1 minute", max: Infinity } })),
        AmqpConnection.launch,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("5 seconds")
      yield* broker.crash
      yield* Virtual.settle
      yield* TestClock.adjust("10 hours")
      assert.isUndefined(running.pollUnsafe())
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
