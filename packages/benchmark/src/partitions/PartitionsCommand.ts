/** `bench partitions`: partitions beside one queue, in messages a second and CPU a message. */
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import * as AmqpConnection from "effect-amqp/AmqpConnection"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { ratios } from "../measure/Measured.ts"
import { Calibration } from "../measure/Noise.ts"
import { machine } from "../report/noiseText.ts"
import { writeResults } from "../report/resultFiles.ts"
import { ratio, render, withSpread } from "../report/Table.ts"
import type { Result } from "./PartitionsBenchmark.ts"
import * as PartitionsBenchmark from "./PartitionsBenchmark.ts"

// Of the one queue with as many handlers at once, in the same run.
const cpuBar = 1.15
const rateBar = 0.9

// A version that hands partitions over to an instance that comes.
const broker = Effect.gen(function*() {
  const named = process.env["AMQP_URL"]
  if (named !== undefined) return { url: named, version: "of AMQP_URL" }
  return yield* Effect.catch(RabbitMq.make({ version: RabbitMq.defaultVersion() ?? "4.3" }), () => RabbitMq.make())
})

const rowsOf = (results: ReadonlyArray<Result>) =>
  results.map((result): ReadonlyArray<string> => {
    const beside = result.way === "one queue" ?
      undefined :
      results.find(({ instances, way, width }) =>
        way === "one queue" && instances === result.instances && width === result.width
      )
    const found = beside === undefined ? undefined : ratios(result, beside)
    // The promise about the rate is one about a single instance with twelve.
    const isKept = found === undefined ||
      (found.cpu <= cpuBar && (result.instances > 1 || result.width < 12 || found.rate >= rateBar))
    return [
      result.way,
      String(result.width),
      String(result.instances),
      withSpread(result.rate),
      ratio(found?.rate),
      withSpread(result.cpu),
      ratio(found?.cpu),
      found === undefined ? "" : isKept ? "kept" : "missed"
    ]
  })

/** Runs the benchmark. */
export const run = (options: {
  readonly quick: boolean
  readonly rounds: number | undefined
  readonly messages: number | undefined
}) =>
  Effect.scoped(Effect.gen(function*() {
    const { url, version } = yield* broker
    const calibration = new Calibration()
    const results = yield* PartitionsBenchmark.run({
      url,
      entrants: options.quick ? PartitionsBenchmark.few : PartitionsBenchmark.everything,
      rounds: options.rounds ?? (options.quick ? 3 : 7),
      // Fewer are handled within a tenth of a second, and say little.
      messages: options.messages ?? (options.quick ? 6000 : 60_000)
    }, calibration).pipe(
      Effect.scoped,
      Effect.provide(
        AmqpPublisher.layer({ confirmTimeout: "1 minute" }).pipe(
          Layer.provideMerge(AmqpConnection.layer({ endpoints: url })),
          Layer.provideMerge(Layer.succeed(References.MinimumLogLevel, "None"))
        )
      )
    )
    const noise = calibration.result()
    const header = ["consuming", "partitions or handlers", "instances", "messages/s", "", "CPU µs", "", "bar"]
    yield* Console.log([
      `RabbitMQ ${version}; the bar: ≤ ×${cpuBar} of the CPU time of the one queue, and ≥ ×${rateBar} of its messages a ` +
      "second with 12 partitions and one instance",
      "",
      render(header, rowsOf(results), 1),
      "",
      machine(noise)
    ].join("\n"))
    if (options.quick) return
    yield* writeResults({
      "partitions.json": `${
        JSON.stringify(
          { when: new Date().toISOString().slice(0, 10), node: process.version, broker: version, noise, results },
          undefined,
          2
        )
      }\n`
    })
  }))
