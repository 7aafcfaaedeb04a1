/**
 * The command line of the redriving program.
 */
import { Console, Effect, Option, References } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { Command } from "effect/cli"
import * as CommandLine from "./CommandLine.ts"
import * as Redriving from "./Redriving.ts"

Command.make(
  "demo-redrive",
  { count: CommandLine.flags.count, url: CommandLine.flags.url },
  ({ count, url }) =>
    Effect.gen(function*() {
      const endpoints = Option.match(url, { onNone: () => undefined, onSome: CommandLine.endpointsOf })
      const run = Effect.provide(Redriving.run(count), Redriving.layer(endpoints)).pipe(
        // The warnings about messages that fail on purpose are switched off.
        Effect.provideService(References.MinimumLogLevel, "Error")
      )
      const { handled, moved, parked } = yield* (endpoints === undefined ? Effect.provide(run, AmqpMemory.layer) : run)
      yield* Console.log(`parked ${parked}, moved ${moved}, handled ${handled}, lost ${parked - handled}`)
    })
).pipe(
  Command.withDescription("A worker parks what it cannot handle, and all of it is moved back in bulk."),
  CommandLine.main
)
