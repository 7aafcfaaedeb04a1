/** The command line of the simulation of partitions. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Simulation from "./partitions/Simulation.ts"

const wholeNumber = (name: string, byDefault: number, description: string) =>
  Flag.Int(name).pipe(Flag.withDescription(`${description}; ${byDefault} by default`), Flag.withDefault(byDefault))

Command.make("simulate", {
  instances: wholeNumber("instances", 100, "Instances at once, at most"),
  partitions: wholeNumber("partitions", 1000, "Partitions"),
  keys: wholeNumber("keys", 100_000, "Keys"),
  rounds: wholeNumber("rounds", 20, "Rounds, each with joins, leaves, deaths and reconnects"),
  seed: wholeNumber("seed", 1, "Gives the same run again")
}, (options) =>
  Effect.flatMap(
    Simulation.run({ ...options, onProgress: (what) => void process.stderr.write(`${what}\n`) }),
    (outcome) => Console.log(JSON.stringify({ ...options, ...outcome }, undefined, 2))
  )).pipe(
    Command.withDescription("Instances that share partitions in virtual time: order, exclusiveness and balance."),
    Command.run({ version: "0.1.0" }),
    Effect.provide(NodeServices.layer),
    NodeRuntime.runMain
  )
