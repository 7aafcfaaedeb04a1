/**
 * The command line of the consuming program.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"
import * as Amqp from "./Amqp.ts"
import * as CommandLine from "./CommandLine.ts"
import * as Tally from "./Tally.ts"
import * as WorkQueue from "./WorkQueue.ts"

const flags = {
  ...CommandLine.flags,
  // Longer than the pause between messages, so that the outage hits handlers at work.
  work: CommandLine.duration("work", "DEMO_WORK", "150 millis", "How long the handler works on a message")
}

Command.make(
  "demo-consume",
  flags,
  (settings) =>
    CommandLine.play(
      settings,
      Tally.ofDeliveries(settings.count),
      ({ endpoints, halfway }) =>
        WorkQueue.run({ ...settings, halfway }).pipe(
          Effect.provide(Amqp.layer({ ...settings, endpoints }, WorkQueue.layer))
        )
    )
).pipe(
  Command.withDescription(
    "Publish numbered messages to RabbitMQ and consume them: each is handled or dead-lettered, whatever the broker does."
  ),
  CommandLine.main
)
