/**
 * The common part of the command lines: flags and variables, and the run of a program against the broker that they
 * name, or against an embedded one.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Config, Console, Data, Duration, Effect, Logger, Number, Option, Redacted, References, Runtime } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { CliOutput, Command, Flag } from "effect/cli"
import type * as Amqp from "./Amqp.ts"
import * as Outage from "./Outage.ts"
import * as Report from "./Report.ts"
import { Reporter } from "./Reporter.ts"
import type * as Tally from "./Tally.ts"

const text = (name: string, variable: string, byDefault: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withDescription(`${description} (${variable}; by default ${byDefault})`),
    Flag.withFallbackConfig(Config.String(variable)),
    Flag.withDefault(byDefault)
  )

const wholeNumber = (name: string, variable: string, byDefault: string, description: string) =>
  text(name, variable, byDefault, description).pipe(
    Flag.withMetavar("number"),
    Flag.filterMap(
      (input) => Option.filter(Number.parse(input), (value) => globalThis.Number.isSafeInteger(value) && value >= 0),
      () => "a whole number of 0 or more"
    )
  )

/** A flag with a duration. An environment variable replaces a missing flag. */
export const duration = (name: string, variable: string, byDefault: string, description: string) =>
  text(name, variable, byDefault, description).pipe(
    Flag.withMetavar("duration"),
    Flag.filterMap(
      (input) => Option.filter(Duration.fromInput(input as Duration.Input), Duration.isFinite),
      () => "a duration, such as \"100 millis\" or \"1 second\""
    )
  )

/** The flags of both programs. */
export const flags = {
  count: wholeNumber("count", "DEMO_COUNT", "100", "How many messages to publish"),
  interval: duration("interval", "DEMO_INTERVAL", "100 millis", "The pause between two messages"),
  url: Flag.Redacted("url").pipe(
    Flag.withMetavar("url"),
    Flag.withDescription(
      "The broker, or several separated by commas, as amqp://user:password@host:port/vhost " +
        "(AMQP_URL; by default a broker embedded in the demo)"
    ),
    Flag.withFallbackConfig(Config.Redacted("AMQP_URL")),
    Flag.optional
  ),
  confirmTimeout: duration(
    "confirm-timeout",
    "AMQP_CONFIRM_TIMEOUT",
    "1 second",
    "How long a message may take until the broker confirms it"
  ),
  retryInterval: duration(
    "retry-interval",
    "AMQP_RETRY_INTERVAL",
    "1 second",
    "The pause between attempts to connect, and before a message is published again"
  ),
  retryMax: wholeNumber(
    "retry-max",
    "AMQP_RETRY_MAX",
    "100",
    "How many times at most to connect again, and to publish a message again"
  ),
  noOutage: Flag.Boolean("no-outage").pipe(
    Flag.withoutNegation,
    Flag.withDescription("Keep the embedded broker from going away midway (DEMO_NO_OUTAGE; by default false)"),
    Flag.withFallbackConfig(Config.Boolean("DEMO_NO_OUTAGE")),
    Flag.withDefault(false)
  )
}

/** Splits a list of URLs at each comma that a scheme follows: a password may have a comma. */
export const endpointsOf = (urls: Redacted.Redacted): ReadonlyArray<Redacted.Redacted> =>
  Redacted.value(urls).split(/,(?=\s*amqps?:\/\/)/i).map((url) => Redacted.make(url.trim()))

/** The values of the flags. */
export interface Settings extends Omit<Amqp.Options, "endpoints"> {
  readonly count: number
  readonly interval: Duration.Duration
  readonly url: Option.Option<Redacted.Redacted>
  readonly noOutage: boolean
}

/** The surroundings of a program. */
export interface Stage<R> {
  readonly endpoints: Amqp.Options["endpoints"]
  /** Runs in the middle of the run. */
  readonly halfway: Effect.Effect<void, never, R>
}

const flagsOfOptions: Readonly<Record<string, string>> = {
  confirmTimeout: "--confirm-timeout",
  endpoints: "--url",
  "retry.interval": "--retry-interval",
  "retry.max": "--retry-max"
}

/** Says what is wrong in the words of the command line: flags in place of options. */
const sentenceOf = (error: { readonly message: string }): string =>
  error.message.replace(
    /^configure: the option "([\w.]+)"/,
    (sentence, option: string) => {
      const flag = flagsOfOptions[option]
      return flag === undefined ? sentence : `configure: the flag ${flag}`
    }
  )

// Some messages failed. The report has said so, so the error has no text of its own.
class Incomplete extends Data.TaggedError("Incomplete") {
  override readonly [Runtime.errorReported] = false
}

/** Runs a program against the broker of the settings, show it, and fail unless all of its messages ended well. */
export const play = Effect.fnUntraced(function*<E extends { readonly message: string }>(
  settings: Settings,
  tally: Tally.Tally,
  program: <R>(stage: Stage<R>) => Effect.Effect<void, E, Reporter | R>
) {
  const { count, noOutage, url } = settings
  const report = yield* Report.make(count, tally)

  const run = Option.match(url, {
    onSome: (url) =>
      report.line("publishing to the broker of --url or AMQP_URL").pipe(
        Effect.andThen(
          program<never>({
            endpoints: endpointsOf(url),
            halfway: Effect.void
          })
        )
      ),
    onNone: () =>
      report.line("without --url and AMQP_URL: publishing to the embedded broker").pipe(
        Effect.andThen(
          program<AmqpMemory.AmqpMemory>({ endpoints: undefined, halfway: noOutage ? Effect.void : Outage.begin })
        ),
        Effect.provide(AmqpMemory.layer)
      )
  })

  yield* run.pipe(
    Effect.provideService(Reporter, report.reporter),
    Effect.tapError((error) => report.problem(sentenceOf(error))),
    Effect.mapError(() => new Incomplete()),
    Effect.ensuring(report.summary)
  )
  if (!tally.isComplete()) return yield* new Incomplete()
})

// Prints one sentence for a flag that cannot be read, without the help text above it.
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Console.error(event.errors.map((error) => error.message).join("\n"))
      : CliOutput.defaultPresenter.present(event)
}

// The reader of the output is gone, as with `| head -1`. The listeners stay, because more may be written until the end.
const outputIsClosed = Effect.callback<void>((resume) => {
  for (const output of [process.stdout, process.stderr]) {
    output.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error
      resume(Effect.void)
    })
  }
})

/**
 * Runs a command as the whole of a process. The process ends in order, with code 0, when the reader of its output is
 * gone.
 */
export const main = <const Name extends string, Input, ContextInput, E>(
  command: Command.Command<Name, Input, ContextInput, E, Command.Environment>
): void =>
  command.pipe(
    Command.run({ version: "0.1.0" }),
    Effect.raceFirst(outputIsClosed),
    // The states of the connection are lines of the report; --log-level shows the library's own log beside them.
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.provideService(Logger.LogToStderr, true),
    Effect.provideService(CliOutput.Presenter, presenter),
    Effect.provide(NodeServices.layer),
    NodeRuntime.runMain
  )
