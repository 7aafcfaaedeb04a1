import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { PublishError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher refuses bad input before the wire", () => {
  const circle: Record<string, unknown> = {}
  circle["self"] = circle
  const cases: ReadonlyArray<readonly [string, unknown, PublishError.PublishErrorReason["_tag"], RegExp]> = [
    ["a routing key of 256 bytes", { routingKey: "é".repeat(128) }, "InvalidMessage", /256 bytes/],
    ["a routing key that is no string", { routingKey: 7 }, "InvalidMessage", /must be a string/],
    ["a missing routing key", { routingKey: undefined }, "InvalidMessage", /missing/],
    ["an exchange of 300 bytes", { exchange: "x".repeat(300) }, "InvalidMessage", /300 bytes/],
    ["an exchange that is null", { exchange: null }, "InvalidMessage", /null/],
    ["a correlation id of 300 bytes", { correlationId: "x".repeat(300) }, "InvalidMessage", /correlationId/],
    ["a message id that is a number", { messageId: 7 }, "InvalidMessage", /messageId/],
    ["a priority of -1", { priority: -1 }, "InvalidMessage", /0 to 255/],
    ["a priority of 256", { priority: 256 }, "InvalidMessage", /0 to 255/],
    ["a broken priority", { priority: 1.5 }, "InvalidMessage", /whole number/],
    ["a timestamp that is no date", { timestamp: 12 }, "InvalidMessage", /Date/],
    ["an invalid date", { timestamp: new Date(NaN) }, "InvalidMessage", /Date/],
    ["an expiration that is no duration", { expiration: "soon" }, "InvalidMessage", /duration/],
    ["an expiration that is NaN", { expiration: NaN }, "InvalidMessage", /duration/],
    ["an endless expiration", { expiration: "Infinity" }, "InvalidMessage", /49.7 days/],
    ["a header that is a function", { headers: { f: () => 1 } }, "InvalidMessage", /headers\.f/],
    ["a header of more than 64 bits", { headers: { a: [2n ** 63n] } }, "InvalidMessage", /headers\.a\[0\]/],
    ["a header that is NaN", { headers: { n: NaN } }, "InvalidMessage", /finite/],
    ["headers in a circle", { headers: circle }, "InvalidMessage", /circle/],
    ["a header key of 256 bytes", { headers: { ["k".repeat(256)]: 1 } }, "InvalidMessage", /256 bytes/],
    ["headers of 140 kB", { headers: { big: "x".repeat(140_000) } }, "InvalidMessage", /131050/],
    ["half a surrogate pair in a header", { headers: { a: "😀"[0] } }, "InvalidMessage", /headers\.a.*surrogate/],
    ["half a surrogate pair in a routing key", { routingKey: "😀"[0] }, "InvalidMessage", /routingKey.*surrogate/],
    ["half a surrogate pair in an exchange", { exchange: "😀"[1] }, "InvalidMessage", /exchange.*surrogate/],
    [
      "half a surrogate pair in a message id",
      { messageId: `${"a".repeat(60)}${"😀"[0]}` },
      "InvalidMessage",
      /messageId/
    ],
    ["half a surrogate pair in a type", { type: "😀"[0] }, "InvalidMessage", /type.*surrogate/],
    ["a CC header that is no list", { headers: { CC: "audit" } }, "InvalidMessage", /headers\.CC.*list/],
    ["a BCC header that is no list", { headers: { BCC: { a: "b" } } }, "InvalidMessage", /headers\.BCC.*list/],
    ["a direct reply-to that nobody reads", { replyTo: "amq.rabbitmq.reply-to" }, "InvalidMessage", /replyTo.*queue/],
    ["headers that are a list", { headers: [1] }, "InvalidMessage", /object/],
    ["a body in a circle", { body: circle }, "EncodeError", /JSON/],
    ["a body that is undefined", { body: undefined }, "EncodeError", /missing/],
    ["a body with a bigint", { body: { n: 1n } }, "EncodeError", /JSON/],
    ["a body over the limit", { body: "x".repeat(1001) }, "TooLarge", /1001 bytes/]
  ]
  const refuses = (tracing: boolean) => ([, field, tag, says]: typeof cases[number]) =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const before = yield* broker.counts
      const refused = yield* reason(publish({ ...paid("x"), ...field as object }))
      assert.strictEqual(refused._tag, tag)
      assert.strictEqual(refused.published, "no")
      assert.match(refused.message, says)
      yield* publish(paid("fine"))
      assert.deepStrictEqual(yield* broker.counts, before, "the channel must be the same as before")
      assert.strictEqual((yield* broker.published).length, 1)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { maxMessageBytes: 1000, tracing } })))
  it.effect.each(cases)("%s", refuses(false))
  it.effect.each(cases)("%s, with tracing", refuses(true))
})
