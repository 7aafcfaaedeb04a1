/** `bench contract`: what a contract costs beside what it is made of, in CPU a message. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { ratios } from "../measure/Measured.ts"
import { Calibration } from "../measure/Noise.ts"
import { machine } from "../report/noiseText.ts"
import { writeResults } from "../report/resultFiles.ts"
import { render, withSpread } from "../report/Table.ts"
import type { Result } from "./ContractBenchmark.ts"
import * as ContractBenchmark from "./ContractBenchmark.ts"

// `AmqpContract.publish` beside the encoding and the publish that it is made of, and µs beside `delivery.json`.
const publishBar = 1.15
const consumeBar = 0.3

const row = ({ cpu, name, rate }: Result, bar: string): ReadonlyArray<string> => [
  name,
  withSpread(rate),
  withSpread(cpu),
  bar
]

/** Runs the benchmark. */
export const run = (options: {
  readonly quick: boolean
  readonly rounds: number | undefined
  readonly messages: number | undefined
}) =>
  Effect.gen(function*() {
    const amount = {
      rounds: options.rounds ?? (options.quick ? 5 : 15),
      messages: options.messages ?? (options.quick ? 5000 : 20_000)
    }
    const calibration = new Calibration()
    for (let i = 0; i < 10; i++) calibration.sample()
    const publishing = yield* ContractBenchmark.publishing(amount)
    const consuming = yield* ContractBenchmark.consuming(amount)
    for (let i = 0; i < 10; i++) calibration.sample()
    const noise = calibration.result()
    const ratio = ratios(publishing[1]!, publishing[0]!).cpu
    const more = consuming[1]!.cpu.median - consuming[0]!.cpu.median
    const verdict = (isKept: boolean) => isKept ? "kept" : "missed"
    const table = render(["contracts", "messages/s", "CPU µs", "bar"], [
      row(publishing[0]!, ""),
      row(publishing[1]!, `×${ratio.toFixed(2)}, ${verdict(ratio <= publishBar)}: ≤ ×${publishBar}`),
      row(consuming[0]!, ""),
      row(
        consuming[1]!,
        `${more >= 0 ? "+" : ""}${more.toFixed(2)} µs, ${verdict(more <= consumeBar)}: ≤ ${consumeBar} µs`
      )
    ], 1)
    yield* Console.log([table, "", machine(noise)].join("\n"))
    if (options.quick) return
    yield* writeResults({
      "contract.json": `${
        JSON.stringify(
          { when: new Date().toISOString().slice(0, 10), node: process.version, noise, publishing, consuming },
          undefined,
          2
        )
      }\n`
    })
  })
