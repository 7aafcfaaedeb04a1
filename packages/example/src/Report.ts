/**
 * What a run looks like: a line for each event, below them a progress bar if there is a terminal, and one last line
 * that counts.
 */
import { Console, Duration, Effect, Stdio, Terminal } from "effect"
import type { AmqpConnection } from "effect-amqp"
import type { Event, Reporter } from "./HelloWorld.ts"

/** How many messages a run has settled, and how. */
export interface Counts {
  readonly confirmed: number
  readonly failed: number
}

/** Shows one run. */
export interface Report {
  readonly reporter: Reporter["Service"]
  readonly line: (text: string) => Effect.Effect<void>
  /** Goes to standard error. */
  readonly problem: (text: string) => Effect.Effect<void>
  readonly counts: Effect.Effect<Counts>
  /** The last line: nothing may be shown after it. */
  readonly summary: Effect.Effect<void>
}

/** Show a run of `total` messages on standard output. */
export const make = Effect.fnUntraced(function*(
  total: number
): Effect.fn.Return<Report, never, Stdio.Stdio | Terminal.Terminal> {
  const stdio = yield* Stdio.Stdio
  const terminal = yield* Terminal.Terminal
  const hasBar = yield* stdio.stdoutIsTerminal
  let confirmed = 0
  let failed = 0

  const bar = Effect.map(terminal.columns, (columns) => {
    const width = Math.max(10, Math.min(40, columns - 20))
    const filled = total === 0 ? width : Math.floor(width * (confirmed + failed) / total)
    return `[${"=".repeat(filled)}${" ".repeat(width - filled)}] ${confirmed + failed}/${total}`
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
          if (event._tag === "Confirmed") confirmed++
          if (event._tag === "NotConfirmed") failed++
          return line(describe(event))
        })
    },
    counts: Effect.sync(() => ({ confirmed, failed })),
    summary: Effect.suspend(() =>
      Effect.andThen(
        eraseBar,
        Console.log(`published ${confirmed + failed}, confirmed ${confirmed}, failed ${failed}`)
      )
    )
  }
})

const describe = (event: Event): string => {
  switch (event._tag) {
    case "ConnectFailed":
      return `not connected yet: ${event.error.reason.message}`
    case "ConnectionChanged":
      return describeState(event.state)
    case "Confirmed":
      return `${event.message.body}: confirmed`
    case "PublishingAgain":
      return `${event.message.body}: ${event.error.reason.message}; it will be published again`
    case "NotConfirmed":
      return `${event.message.body}: failed: ${event.error.reason.message}` +
        (event.error.published === "unknown" ? "; the broker may have it all the same" : "")
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
