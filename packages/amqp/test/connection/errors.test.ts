import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Logger } from "effect"
import { AmqpChannel, AmqpError } from "effect-amqp"
import * as Virtual from "../support/Virtual.ts"

const sentence = `the queue "nope" does not exist`

describe("an AmqpError", () => {
  it.effect("has a reason that is an error with a message of its own, so that unwrapReason gives one", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const reason = yield* Effect.flip(channel.checkQueue("nope").pipe(Effect.unwrapReason("AmqpError")))
      assert.instanceOf(reason, Error)
      assert.instanceOf(reason, AmqpError.NotFound)
      assert.include(String(reason), `NotFound: ${sentence}`)
      assert.include(Cause.pretty(Cause.fail(reason)), `NotFound: ${sentence}`)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("is logged with its sentence, and so is its reason", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const error = yield* Effect.flip(channel.checkQueue("nope"))
      const lines: Array<string> = []
      const loggers = [Logger.formatJson, Logger.formatLogFmt, Logger.formatSimple].map((logger) =>
        Logger.map(logger, (line) => void lines.push(line))
      )
      yield* Effect.provide(
        Effect.all([Effect.logError("it failed", error), Effect.logError("for", error.reason)]),
        Logger.layer(loggers)
      )
      assert.strictEqual(lines.length, 6)
      for (const line of lines) assert.match(line, /the queue .*nope.* does not exist/)
    }).pipe(Effect.provide(Virtual.layer())))

  it("captures no stack, and neither does its reason, which may fail many operations", () => {
    const address = { host: "rabbit", port: 5672 }
    const reason = new AmqpError.ConnectionRefused({ address, detail: "ECONNREFUSED" })
    const error = new AmqpError.AmqpError({ operation: "connect", reason })
    assert.strictEqual(reason.stack, `ConnectionRefused: ${reason.message}`)
    assert.strictEqual(error.stack, `AmqpError: connect: ${reason.message}`)
  })
})
