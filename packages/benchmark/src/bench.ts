/** The command line of the benchmarks. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ConsumeCommand from "./consumers/ConsumeCommand.ts"
import * as ContractCommand from "./contracts/ContractCommand.ts"
import * as MemoryBrokerCommand from "./memoryBroker/MemoryBrokerCommand.ts"
import * as PartitionsCommand from "./partitions/PartitionsCommand.ts"
import * as PublishCommand from "./publishers/PublishCommand.ts"
import * as RpcCommand from "./rpc/RpcCommand.ts"

const flags = {
  quick: Flag.Boolean("quick").pipe(
    Flag.withoutNegation,
    Flag.withDescription("A minute at most, for development: fewer contenders, one body size, no files written"),
    Flag.withDefault(false)
  ),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("How often each contender has its turn"), Flag.optional),
  messages: Flag.Int("messages").pipe(
    Flag.withDescription(
      "Messages of one turn, instead of 20,000; large bodies and small windows have their share of it"
    ),
    Flag.optional
  ),
  profile: Flag.String("profile").pipe(
    Flag.withDescription("Write a CPU profile of each contender into this directory"),
    Flag.optional
  )
}

interface Flags {
  readonly quick: boolean
  readonly rounds: Option.Option<number>
  readonly messages: Option.Option<number>
  readonly profile: Option.Option<string>
}

const optionsOf = (flags: Flags) => ({
  quick: flags.quick,
  rounds: Option.getOrUndefined(flags.rounds),
  messages: Option.getOrUndefined(flags.messages),
  profileInto: Option.getOrUndefined(flags.profile)
})

const publish = (flags: Flags) => PublishCommand.run(optionsOf(flags))

Command.make("bench", flags, publish).pipe(
  Command.withDescription("Measure effect-amqp beside raw amqplib and its peers."),
  Command.withSubcommands([
    Command.make("publish", flags, publish).pipe(Command.withDescription("Confirmed publishing; the default")),
    Command.make("consume", flags, (flags) => ConsumeCommand.run(optionsOf(flags))).pipe(
      Command.withDescription("Consuming with acknowledgements")
    ),
    Command.make("contract", flags, (flags) => ContractCommand.run(optionsOf(flags))).pipe(
      Command.withDescription("Contracts beside what they are made of")
    ),
    Command.make("rpc", flags, (flags) => RpcCommand.run(optionsOf(flags))).pipe(
      Command.withDescription("Calls through RabbitMQ, unary and streams")
    ),
    Command.make("partitions", flags, (flags) => PartitionsCommand.run(optionsOf(flags))).pipe(
      Command.withDescription("Partitions beside one queue with as many handlers at once")
    ),
    Command.make("memory-broker", {}, () => MemoryBrokerCommand.run).pipe(
      Command.withDescription("The in-process broker, and its topic routing")
    )
  ]),
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
