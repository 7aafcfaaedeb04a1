import { assert, describe, it } from "@effect/vitest"
import { Effect, Stdio, Terminal } from "effect"
import { AmqpError, PublishError } from "effect-amqp"
import { TestConsole } from "effect/testing"
import * as Report from "../src/Report.ts"
import type { HelloMessage } from "../src/Reporter.ts"
import * as Tally from "../src/Tally.ts"

const message = (n: number): HelloMessage => ({
  routingKey: "my_routing_key",
  messageId: `run-${n}`,
  body: `Hello World! - ${n}`
})

const timeout = (published: PublishError.Published) =>
  new PublishError.PublishError({
    messageId: "run-0",
    reason: new PublishError.ConfirmTimeout({ published, millis: 1000, waitingFor: "confirm" })
  })

/** A report on a standard output that is or is not a terminal; what it displays beside lines is collected. */
const makeReport = (
  total: number,
  options: { readonly isTerminal: boolean; readonly columns: number; readonly tally?: Tally.Tally }
) => {
  const displayed: Array<string> = []
  const terminal = Terminal.make({
    columns: Effect.succeed(options.columns),
    rows: Effect.succeed(24),
    size: Effect.die("not used"),
    readInput: Effect.die("not used"),
    readLine: Effect.die("not used"),
    display: (text) => Effect.sync(() => displayed.push(text))
  })
  return Report.make(total, options.tally ?? Tally.ofConfirms()).pipe(
    Effect.map((report) => ({ ...report, displayed })),
    Effect.provideService(Terminal.Terminal, terminal),
    Effect.provide(Stdio.layerTest({ stdoutIsTerminal: Effect.succeed(options.isTerminal) }))
  )
}

describe("Report", () => {
  it.effect("writes plain lines, and the counts as the last one, when it is piped", () =>
    Effect.gen(function*() {
      const { displayed, reporter, summary } = yield* makeReport(3, { isTerminal: false, columns: 0 })
      yield* reporter.report({ _tag: "Confirmed", message: message(0) })
      yield* reporter.report({ _tag: "PublishingAgain", message: message(1), error: timeout("unknown") })
      yield* reporter.report({ _tag: "Confirmed", message: message(1) })
      yield* reporter.report({ _tag: "NotConfirmed", message: message(2), error: timeout("unknown") })
      yield* summary
      assert.deepStrictEqual(displayed, [])
      assert.deepStrictEqual(yield* TestConsole.logLines, [
        "Hello World! - 0: confirmed",
        "Hello World! - 1: no confirm within 1000 ms: the message was written, and the broker has not confirmed it; " +
        "it will be published again",
        "Hello World! - 1: confirmed",
        "Hello World! - 2: failed: no confirm within 1000 ms: the message was written, and the broker has not confirmed it; " +
        "the broker may have it all the same",
        "published 3, confirmed 2, failed 1"
      ])
    }))

  it.effect("keeps a progress bar below the lines on a terminal, and takes it away before the last line", () =>
    Effect.gen(function*() {
      const { displayed, reporter, summary } = yield* makeReport(4, { isTerminal: true, columns: 30 })
      yield* reporter.report({ _tag: "Confirmed", message: message(0) })
      yield* reporter.report({ _tag: "Confirmed", message: message(1) })
      yield* summary
      const erase = "\r\u001b[2K"
      assert.deepStrictEqual(displayed, [erase, "[==        ] 1/4", erase, "[=====     ] 2/4", erase])
      assert.strictEqual((yield* TestConsole.logLines).at(-1), "published 2, confirmed 2, failed 0")
    }))

  it.effect("tells what became of consumed messages, and which session is meant", () =>
    Effect.gen(function*() {
      const tally = Tally.ofDeliveries(2)
      const { displayed, reporter, summary } = yield* makeReport(2, { isTerminal: true, columns: 30, tally })
      const { report } = reporter
      yield* report({ _tag: "ConnectionChanged", state: { _tag: "Closed", role: "consume" } })
      yield* report({ _tag: "Confirmed", message: message(0) })
      yield* report({ _tag: "HandlerFailed", message: message(0), reason: "not now", willRetry: true })
      yield* report({ _tag: "Handled", message: message(0), times: 1 })
      yield* report({ _tag: "Handled", message: message(0), times: 2 })
      yield* report({ _tag: "Confirmed", message: message(1) })
      assert.isFalse(tally.isComplete())
      yield* report({ _tag: "HandlerFailed", message: message(1), reason: "never", willRetry: false })
      yield* report({ _tag: "DeadLettered", message: message(1) })
      assert.isTrue(tally.isComplete())
      yield* summary
      assert.deepStrictEqual(yield* TestConsole.logLines, [
        "consume: connection closed",
        "Hello World! - 0: confirmed",
        "Hello World! - 0: not now; it will be tried again",
        "Hello World! - 0: handled",
        "Hello World! - 0: handled again",
        "Hello World! - 1: confirmed",
        "Hello World! - 1: never; it will be dead-lettered",
        "Hello World! - 1: dead-lettered",
        "published 2, handled 1, handled more than once 1, dead-lettered 1"
      ])
      assert.strictEqual(displayed.at(-2), "[==========] 2/2")
    }))

  it.effect("tells each state of the connection in one line", () =>
    Effect.gen(function*() {
      const { reporter } = yield* makeReport(1, { isTerminal: false, columns: 0 })
      const address = { host: "127.0.0.1", port: 5672 }
      const refused = new AmqpError.AmqpError({
        operation: "connect",
        reason: new AmqpError.ConnectionRefused({ address, detail: "ECONNREFUSED" })
      })
      yield* reporter.report({ _tag: "ConnectFailed", error: refused })
      yield* reporter.report({
        _tag: "ConnectionChanged",
        state: {
          _tag: "Connected",
          role: "publish",
          epoch: 1,
          address,
          serverProperties: { product: "RabbitMQ", version: "4.0.5" }
        }
      })
      yield* reporter.report({
        _tag: "ConnectionChanged",
        state: { _tag: "Blocked", role: "publish", epoch: 1, address, reason: "low on memory" }
      })
      yield* reporter.report({ _tag: "ConnectionChanged", state: { _tag: "Failed", role: "publish", cause: refused } })
      yield* reporter.report({ _tag: "ConnectionChanged", state: { _tag: "Closed", role: "publish" } })
      const why = "127.0.0.1:5672 refused the connection (ECONNREFUSED). Is RabbitMQ running and listening there?"
      assert.deepStrictEqual(yield* TestConsole.logLines, [
        `not connected yet: ${why}`,
        "connected to RabbitMQ 4.0.5 at 127.0.0.1:5672, session 1",
        "blocked by the broker: low on memory",
        `connection given up: ${why}`,
        "connection closed"
      ])
    }))
})
