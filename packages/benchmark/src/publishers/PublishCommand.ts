/** `bench publish`: runs the heats before both servers, prints the table, and writes the results down. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Broker from "../measure/Broker.ts"
import { Calibration } from "../measure/Noise.ts"
import { publishChart } from "../report/charts.ts"
import * as PublishReport from "../report/PublishReport.ts"
import { compare } from "../report/Ratios.ts"
import { writeResults } from "../report/resultFiles.ts"
import * as contenders from "./contenders.ts"
import type { PlanOptions } from "./plan.ts"
import { heats } from "./plan.ts"
import type { Result } from "./PublishBenchmark.ts"
import * as PublishBenchmark from "./PublishBenchmark.ts"

/** The options of the command line. */
export interface Options extends PlanOptions {
  readonly profileInto: string | undefined
}

/** Runs the benchmark. */
export const run = (options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const broker = yield* Broker.make
    yield* PublishBenchmark.compile
    const calibration = new Calibration()
    const targets = [PublishBenchmark.rabbitMq(broker), yield* PublishBenchmark.instant]
    const results: Array<Result> = []
    for (const heat of heats(options)) {
      for (const target of targets) {
        results.push(...(yield* PublishBenchmark.run(heat, target, calibration, options.profileInto)))
      }
    }
    const compared = compare(
      results,
      ({ bodyBytes, inFlight, server }) => `${server} ${bodyBytes} ${inFlight}`,
      contenders
    )
    const noise = calibration.result()
    const remarks = PublishReport.noise(noise, compared)
    yield* Console.log(
      [PublishReport.table(compared), "", ...PublishReport.timeoutShare(compared), ...remarks].join("\n")
    )
    if (options.quick) return
    const when = new Date().toISOString().slice(0, 10)
    const written = yield* writeResults({
      "publish.json": `${JSON.stringify({ when, node: process.version, noise, results: compared }, undefined, 2)}\n`,
      "publish.svg": publishChart(
        compared,
        `medians, whiskers from smallest to largest; node ${process.version}, ${broker.version}, ${when}; ` +
          `machine ${noise.verdict}`
      )
    })
    yield* Console.error(written.map((path) => `written: ${path}`).join("\n"))
  }))
