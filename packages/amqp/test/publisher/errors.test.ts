import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Logger } from "effect"
import { PublishError } from "effect-amqp"
import { publish } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

const nowhere = { exchange: "nowhere", routingKey: "x", body: "a secret body", messageId: "m1" }
const sentence = `the exchange "nowhere" does not exist`

describe("the error of a publish", () => {
  it.effect("has a reason that is an error with a message of its own, so that unwrapReason gives one", () =>
    Effect.gen(function*() {
      const reason = yield* Effect.flip(publish(nowhere).pipe(Effect.unwrapReason("PublishError")))
      assert.instanceOf(reason, Error)
      assert.strictEqual(reason.name, "ExchangeNotFound")
      assert.include(reason.message, sentence)
      assert.include(String(reason), sentence)
      assert.include(Cause.pretty(Cause.fail(reason)), `ExchangeNotFound: ${sentence}`)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("is logged with its sentence, and so are its reason and a batch, without the bodies", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(publish(nowhere))
      const batch = new PublishError.BatchError({ confirmed: 1, failures: [{ index: 1, message: nowhere, error }] })
      const lines: Array<string> = []
      const logger = Logger.map(Logger.formatJson, (line) => void lines.push(line))
      yield* Effect.provide(
        Effect.all([
          Effect.logError("it failed", error),
          Effect.logError("for", error.reason),
          Effect.logError("all of", batch)
        ]),
        Logger.layer([logger])
      )
      assert.strictEqual(lines.length, 3)
      for (const line of lines) {
        assert.include(line, JSON.stringify(sentence).slice(1, -1))
        assert.notInclude(line, nowhere.body)
      }
      assert.include(lines[0], `"messageId":"m1"`)
    }).pipe(Effect.provide(Virtual.layer())))

  it("captures no stack, whose frames would all be those of a driver's callback", () => {
    const limit = Error.stackTraceLimit
    const reason = new PublishError.PublisherClosed({ published: "no" })
    const error = new PublishError.PublishError({ messageId: "m1", reason })
    assert.strictEqual(reason.stack, "PublisherClosed: the publisher was closed")
    assert.strictEqual(error.stack, "PublishError: publish: the publisher was closed")
    assert.strictEqual(Error.stackTraceLimit, limit)
  })
})
