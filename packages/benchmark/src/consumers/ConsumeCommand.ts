/** `bench consume`: runs the consume benchmark, prints the table, and writes the results down. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Broker from "../measure/Broker.ts"
import { Calibration } from "../measure/Noise.ts"
import { consumeChart } from "../report/charts.ts"
import * as ConsumeReport from "../report/ConsumeReport.ts"
import { machine } from "../report/noiseText.ts"
import { compare } from "../report/Ratios.ts"
import { writeResults } from "../report/resultFiles.ts"
import type { Result } from "./ConsumeBenchmark.ts"
import * as ConsumeBenchmark from "./ConsumeBenchmark.ts"
import * as contenders from "./contenders.ts"

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
    yield* ConsumeBenchmark.compile
    const calibration = new Calibration()
    const results: Array<Result> = []
    for (const source of [ConsumeBenchmark.rabbitMq(broker), yield* ConsumeBenchmark.instant]) {
      results.push(
        ...(yield* ConsumeBenchmark.run(source, calibration, {
          rounds: options.rounds ?? (quick ? 3 : 5),
          // Shorter turns would measure the compiler of the runtime.
          messages: options.messages ?? (quick ? 10_000 : 20_000),
          entrants: quick ? ConsumeBenchmark.few : ConsumeBenchmark.everything,
          profileInto
        }))
      )
    }
    const compared = compare(results, ({ prefetch, server }) => `${server} ${prefetch}`, contenders)
    const noise = calibration.result()
    yield* Console.log([ConsumeReport.table(compared), "", machine(noise)].join("\n"))
    if (quick) return
    const when = new Date().toISOString().slice(0, 10)
    const written = yield* writeResults({
      "consume.json": `${JSON.stringify({ when, node: process.version, noise, results: compared }, undefined, 2)}\n`,
      "consume.svg": consumeChart(
        compared,
        `medians, whiskers from smallest to largest; node ${process.version}, ${broker.version}, ${when}; ` +
          `machine ${noise.verdict}`
      )
    })
    yield* Console.error(written.map((path) => `written: ${path}`).join("\n"))
  }))
