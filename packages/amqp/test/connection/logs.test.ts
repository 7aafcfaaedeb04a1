import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { recoveryOf } from "../../src/internal/connection/service.ts"
import * as Virtual from "../support/Virtual.ts"

interface Line {
  readonly level: string
  readonly text: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** Gathers what is logged from the level Info on. */
const logging = (lines: Array<Line>) =>
  Logger.layer([
    Logger.make(({ logLevel, message }) => {
      const [text, fields] = Array.isArray(message) ? message : [message]
      if (logLevel !== "Debug" && logLevel !== "Trace") {
        lines.push({ level: logLevel, text: String(text), fields: (fields ?? {}) as Line["fields"] })
      }
    })
  ])

/** The lines as one row of text for each session. */
const bySession = (lines: ReadonlyArray<Line>) => {
  const rows: Record<string, Array<string>> = {}
  for (const { fields, level, text } of lines) {
    if (text.startsWith("AMQP connect")) (rows[String(fields["session"])] ??= []).push(`${level} ${text}`)
  }
  return rows
}

describe("the log of an outage", () => {
  it.effect("says of each session once that it was lost, why it does not come back, and that it is back", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      yield* Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* pass(5000)
        lines.length = 0
        yield* broker.crash
        yield* pass(20_000, 500)
        yield* broker.start
        yield* pass(5000, 500)
      }).pipe(
        Effect.provide(
          AmqpConsumer.layer(Virtual.invoices, () => Effect.void).pipe(Layer.provideMerge(Virtual.layer()))
        ),
        Effect.provide(logging(lines))
      )
      const outage = ["Warn AMQP connection lost", "Warn AMQP connection attempt failed", "Info AMQP connected"]
      assert.deepStrictEqual(bySession(lines), { publish: outage, consume: outage })
    }))
})

describe("the log of a setup that is refused for now", () => {
  it.effect("names the session, and says each reason once", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      yield* Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        let tries = 0
        yield* recoveryOf(connection).register("consume", () =>
          Effect.suspend(() => {
            const replyText = ++tries <= 5 ? "RESOURCE_LOCKED - one" : "RESOURCE_LOCKED - another"
            return tries > 10 ? Effect.void : Effect.fail(
              new AmqpError.AmqpError({
                operation: "declareQueue q",
                reason: new AmqpError.ResourceLocked({ replyText })
              })
            )
          })).pipe(Effect.forkScoped({ startImmediately: true }))
        yield* pass(15_000)
        assert.strictEqual(tries, 11)
      }).pipe(
        Effect.scoped,
        Effect.provide(AmqpConnection.layer()),
        Effect.provide(AmqpMemory.layer),
        Effect.provide(logging(lines))
      )
      const refused = lines.filter(({ text }) => text.startsWith("AMQP setup refused"))
      assert.deepStrictEqual(refused.map(({ fields }) => fields["session"]), ["consume", "consume"])
      assert.match(String(refused[0]!.fields["reason"]), /one/)
      assert.match(String(refused[1]!.fields["reason"]), /another/)
    }))
})
