/**
 * The command line of the publishing program.
 */
import { Effect } from "effect"
import { AmqpTopology } from "effect-amqp"
import { Command } from "effect/cli"
import * as Amqp from "./Amqp.ts"
import * as CommandLine from "./CommandLine.ts"
import * as HelloWorld from "./HelloWorld.ts"
import * as Tally from "./Tally.ts"

Command.make(
  "demo",
  CommandLine.flags,
  (settings) =>
    CommandLine.play(
      settings,
      Tally.ofConfirms(),
      ({ endpoints, halfway }) =>
        HelloWorld.run({ ...settings, halfway }).pipe(
          Effect.provide(Amqp.layer({ ...settings, endpoints }, AmqpTopology.layer(HelloWorld.topology)))
        )
    )
).pipe(
  Command.withDescription("Publish numbered messages to RabbitMQ, each of them confirmed, whatever the broker does."),
  CommandLine.main
)
