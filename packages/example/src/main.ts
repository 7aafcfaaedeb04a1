/**
 * The command line: reads flags and environment, and runs the program against the broker that they name, or against an
 * embedded one.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Config, Console, Data, Duration, Effect, Logger, Number, Option, Redacted, References, Runtime } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { CliOutput, Command, Flag } from "effect/cli"
import * as Amqp from "./Amqp.ts"
import * as HelloWorld from "./HelloWorld.ts"
import * as Outage from "./Outage.ts"
import * as Report from "./Report.ts"

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

const duration = (name: string, variable: string, byDefault: string, description: string) =>
  text(name, variable, byDefault, description).pipe(
    Flag.withMetavar("duration"),
    Flag.filterMap(
      (input) => Option.filter(Duration.fromInput(input as Duration.Input), Duration.isFinite),
      () => "a duration, such as \"100 millis\" or \"1 second\""
    )
  )

const flags = {
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

// Some messages were not confirmed. What there is to say has been said by then.
class Incomplete extends Data.TaggedError("Incomplete") {
  override readonly [Runtime.errorReported] = false
}

const demo = Command.make(
  "demo",
  flags,
  Effect.fnUntraced(function*(settings) {
    const { confirmTimeout, count, interval, noOutage, retryInterval, retryMax, url } = settings
    const report = yield* Report.make(count)

    const publish = <R>(endpoints: Amqp.Options["endpoints"], halfway: Effect.Effect<void, never, R>) =>
      HelloWorld.run({ count, interval, retryInterval, retryMax, halfway }).pipe(
        Effect.provide(Amqp.layer({ endpoints, confirmTimeout, retryInterval, retryMax }))
      )

    const run = Option.match(url, {
      onSome: (url) =>
        report.line("publishing to the broker of --url or AMQP_URL").pipe(
          Effect.andThen(
            publish(Redacted.value(url).split(",").map((one) => Redacted.make(one.trim())), Effect.void)
          )
        ),
      onNone: () =>
        report.line("without --url and AMQP_URL: publishing to the embedded broker").pipe(
          Effect.andThen(publish(undefined, noOutage ? Effect.void : Outage.begin)),
          Effect.provide(AmqpMemory.layer)
        )
    })

    yield* run.pipe(
      Effect.provideService(HelloWorld.Reporter, report.reporter),
      Effect.tapError((error) => report.problem(error.message)),
      Effect.mapError(() => new Incomplete()),
      Effect.ensuring(report.summary)
    )
    const { failed } = yield* report.counts
    if (failed > 0) return yield* new Incomplete()
  })
).pipe(
  Command.withDescription("Publish numbered messages to RabbitMQ, each of them confirmed, whatever the broker does.")
)

// One sentence for a flag that cannot be read, without the whole of the help above it.
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Console.error(event.errors.map((error) => error.message).join("\n"))
      : CliOutput.defaultPresenter.present(event)
}

demo.pipe(
  Command.run({ version: "0.1.0" }),
  // The states of the connection are lines of the report; --log-level shows the library's own log beside them.
  Effect.provideService(References.MinimumLogLevel, "None"),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(CliOutput.Presenter, presenter),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
