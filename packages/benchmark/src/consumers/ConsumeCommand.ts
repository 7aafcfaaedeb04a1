/** `bench consume`: runs the consume benchmark, prints the table, and writes the results down. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Broker from "../measure/Broker.ts"
import { Calibration } from "../measure/Noise.ts"
import * as ConsumeReport from "../report/ConsumeReport.ts"
import { machine } from "../report/noiseText.ts"
import { writeResults } from "../report/resultFiles.ts"
import * as ConsumeBenchmark from "./ConsumeBenchmark.ts"

/** The options of the command line. */
export interface Options {
  readonly quick: boolean
  readonly rounds: number | undefined
  readonly messages: number | undefined
  readonly profileInto: string | undefined
}

/** Runs the benchmark. */
export const run = (options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const { profileInto, quick } = options
    const broker = yield* Broker.make
    const calibration = new Calibration()
    const results = yield* ConsumeBenchmark.run(broker, calibration, {
      rounds: options.rounds ?? (quick ? 3 : 5),
      messages: options.messages ?? 10_000,
      entrants: quick ? ConsumeBenchmark.few : ConsumeBenchmark.everything,
      profileInto
    })
    const noise = calibration.result()
    yield* Console.log([ConsumeReport.table(results), "", machine(noise)].join("\n"))
    if (quick) return
    yield* writeResults({
      "consume.json": `${
        JSON.stringify(
          {
            when: new Date().toISOString().slice(0, 10),
            node: process.version,
            broker: broker.version,
            noise,
            results
          },
          undefined,
          2
        )
      }\n`
    })
  }))
