/**
 * The command line of the program that calls.
 */
import { Console, Effect, References } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { Command, Flag } from "effect/cli"
import * as CommandLine from "./CommandLine.ts"
import * as RpcCalling from "./rpcCalling.ts"

Command.make(
  "demo-rpc",
  {
    count: CommandLine.flags.count.pipe(
      Flag.withDescription("How many calls to make, one of them a stream (DEMO_COUNT; by default 100)")
    )
  },
  ({ count }) =>
    Effect.gen(function*() {
      const { answered, called, failed } = yield* RpcCalling.run(count).pipe(
        Effect.provide(AmqpMemory.layer),
        // What the library says of the server that is killed on purpose is switched off.
        Effect.provideService(References.MinimumLogLevel, "None")
      )
      yield* Console.log(`called ${called}, answered ${answered}, failed ${failed}`)
    })
).pipe(
  Command.withDescription("A client calls two servers; one of them is killed under its calls and a stream."),
  CommandLine.main
)
