/** The command line of the soak. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as ConsumingSoak from "./soak/ConsumingSoak.ts"
import { consumingScenarios, randomScenario, scenarios } from "./soak/scenarios.ts"
import * as Soak from "./soak/Soak.ts"
import type { Judged } from "./soak/SoakReport.ts"
import * as SoakReport from "./soak/SoakReport.ts"

/** A soak did not show what it has to show. The table says which one. */
class Unsound extends Data.TaggedError("Unsound") {
  override readonly [Runtime.errorReported] = false
}

const wholeNumber = (name: string, byDefault: number, description: string) =>
  Flag.Int(name).pipe(Flag.withDescription(`${description}; ${byDefault} by default`), Flag.withDefault(byDefault))

Command.make(
  "soak",
  {
    cycles: wholeNumber("cycles", 5, "How often the broker is killed and restarted"),
    closes: wholeNumber("closes", 20, "How often the broker closes all connections"),
    restarts: wholeNumber("restarts", 10, "How often the broker is restarted in order under consumers"),
    rate: wholeNumber("rate", 20_000, "Messages offered a second, where nobody consumes"),
    random: Flag.Boolean("random").pipe(
      Flag.withDescription("Random faults under consumers instead, for --minutes"),
      Flag.withDefault(false)
    ),
    minutes: wholeNumber("minutes", 30, "How long random faults go on"),
    seed: Flag.Int("seed").pipe(
      Flag.withDescription("Gives the same random faults again; a random one by default, which is printed"),
      Flag.optional
    ),
    only: Flag.String("only").pipe(
      Flag.withDescription("Only the soaks whose name contains this: classic, quorum, close, control, consumers"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function*({ closes, cycles, minutes, only, random, rate, restarts, seed }) {
    const isWanted = ({ name }: { readonly name: string }) => Option.isNone(only) || name.includes(only.value)
    const tell = (name: string) => (what: string) => {
      process.stderr.write(`${name}: ${what}\n`)
    }
    const judged: Array<Judged> = []
    for (const scenario of random ? [] : scenarios(cycles, closes, rate).filter(isWanted)) {
      judged.push({ scenario, outcome: yield* Soak.run({ ...scenario, onProgress: tell(scenario.name) }) })
    }
    const consuming = random
      ? [randomScenario(minutes, Option.getOrElse(seed, () => Math.floor(Math.random() * 2 ** 31)))]
      : consumingScenarios(cycles, restarts).filter(isWanted)
    for (const scenario of consuming) {
      judged.push({ scenario, outcome: yield* ConsumingSoak.run({ ...scenario, onProgress: tell(scenario.name) }) })
    }
    yield* Console.log(SoakReport.table(judged))
    if (!judged.every(SoakReport.passed)) return yield* new Unsound()
  })
).pipe(
  Command.withDescription("Publish while RabbitMQ is killed and restarted, and find out whether anything was lost."),
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
