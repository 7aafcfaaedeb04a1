/**
 * Shows a run: a line for each event, a progress bar below them on a terminal, and one last line with the counts.
 */
import { Console, Duration, Effect, Stdio, Terminal } from "effect"
import type { AmqpConnection } from "effect-amqp"
import type { Event, Reporter } from "./Reporter.ts"
import type * as Tally from "./Tally.ts"

/** Shows one run. */
export interface Report {
  readonly reporter: Reporter["Service"]
  readonly line: (text: string) => Effect.Effect<void>
  /** Writes a line to standard error. */
  readonly problem: (text: string) => Effect.Effect<void>
  /** Shows the last line. No line may follow it. */
  readonly summary: Effect.Effect<void>
}

/** Shows a run of `total` messages on standard output, and count it. */
export const make = Effect.fnUntraced(function*(
  total: number,
  tally: Tally.Tally
): Effect.fn.Return<Report, never, Stdio.Stdio | Terminal.Terminal> {
  const stdio = yield* Stdio.Stdio
  const terminal = yield* Terminal.Terminal
  const hasBar = yield* stdio.stdoutIsTerminal

  const bar = Effect.map(terminal.columns, (columns) => {
    const width = Math.max(10, Math.min(40, columns - 20))
    const settled = tally.settled()
    const filled = total === 0 ? width : Math.floor(width * settled / total)
    return `[${"=".repeat(filled)}${" ".repeat(width - filled)}] ${settled}/${total}`
  })
  const eraseBar = hasBar ? Effect.ignore(terminal.display("\r\u001b[2K")) : Effect.void
  const drawBar = hasBar ? Effect.ignore(Effect.flatMap(bar, terminal.display)) : Effect.void
  const aboveBar = (write: Effect.Effect<void>) =>
    Effect.uninterruptible(Effect.andThen(Effect.andThen(eraseBar, write), drawBar))
  const line = (text: string) => aboveBar(Console.log(text))

  return {
    line,
    problem: (text) => aboveBar(Console.error(text)),
    reporter: {
      report: (event) =>
        Effect.suspend(() => {
          tally.count(event)
          return line(describe(event, tally.hasTwoSessions))
        })
    },
    summary: Effect.suspend(() => Effect.andThen(eraseBar, Console.log(tally.summary())))
  }
})

const describe = (event: Event, hasTwoSessions: boolean): string => {
  switch (event._tag) {
    case "ConnectFailed":
      return `not connected yet: ${event.error.reason.message}`
    case "ConnectionChanged":
      return hasTwoSessions && event.state.role !== undefined
        ? `${event.state.role}: ${describeState(event.state)}`
        : describeState(event.state)
    case "Confirmed":
      return `${event.message.body}: confirmed`
    case "PublishingAgain":
      return `${event.message.body}: ${event.error.reason.message}; it will be published again`
    case "NotConfirmed":
      return `${event.message.body}: failed: ${event.error.reason.message}` +
        (event.error.published === "unknown" ? "; the broker may have it all the same" : "")
    case "Handled":
      return `${event.message.body}: handled${event.times > 1 ? " again" : ""}`
    case "HandlerFailed":
      return `${event.message.body}: ${event.reason}; ` +
        (event.willRetry ? "it will be tried again" : "it will be dead-lettered")
    case "DeadLettered":
      return `${event.message.body}: dead-lettered`
  }
}

const describeState = (state: AmqpConnection.State): string => {
  switch (state._tag) {
    case "Idle":
      return "idle"
    case "Connecting":
      return `connecting, attempt ${state.attempt}`
    case "Connected": {
      const { product, version } = state.serverProperties
      return `connected to ${String(product)} ${String(version)} at ${state.address.host}:${state.address.port}, ` +
        `session ${state.epoch}`
    }
    case "Blocked":
      return `blocked by the broker: ${state.reason}`
    case "Reconnecting":
      return state.attempt === 1
        ? `disconnected: ${state.cause.reason.message}`
        : `reconnecting, attempt ${state.attempt} in ${Duration.format(state.nextDelay)}: ${state.cause.reason.message}`
    case "Failed":
      return `connection given up: ${state.cause.reason.message}`
    case "Closed":
      return "connection closed"
  }
}
