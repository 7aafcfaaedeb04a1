/** `bench rpc`: calls through RabbitMQ beside raw amqplib with JSON, in CPU a call. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Broker from "../measure/Broker.ts"
import { ratios } from "../measure/Measured.ts"
import { Calibration } from "../measure/Noise.ts"
import { machine } from "../report/noiseText.ts"
import { writeResults } from "../report/resultFiles.ts"
import { render, withSpread } from "../report/Table.ts"
import type { Result } from "./RpcBenchmark.ts"
import * as RpcBenchmark from "./RpcBenchmark.ts"

// A unary call beside raw amqplib with JSON, and µs an item of a stream.
const unaryBar = 2
const itemBar = 2

/** Runs the benchmark. */
export const run = (options: {
  readonly quick: boolean
  readonly rounds: number | undefined
  readonly messages: number | undefined
}) =>
  Effect.scoped(Effect.gen(function*() {
    const broker = yield* Broker.make
    const calibration = new Calibration()
    const results = yield* RpcBenchmark.run(broker, calibration, {
      rounds: options.rounds ?? (options.quick ? 3 : 9),
      calls: options.messages ?? (options.quick ? 5000 : 10_000)
    })
    const noise = calibration.result()
    const verdict = (isKept: boolean) => isKept ? "kept" : "missed"
    const bar = (result: Result): string => {
      const base = results.find(({ contender, what }) => contender === RpcBenchmark.baseline && what === result.what)
      if (base === result) return ""
      if (base === undefined) return `${verdict(result.cpu.median <= itemBar)}: ≤ ${itemBar} µs`
      const ratio = ratios(result, base).cpu
      return `×${ratio.toFixed(2)}` +
        (result.contender === RpcBenchmark.own ? `, ${verdict(ratio <= unaryBar)}: ≤ ×${unaryBar}` : "")
    }
    const table = render(
      ["calls", "contender", "a second", "CPU µs", "CPU bar"],
      results.map((result) => [
        result.what,
        result.contender,
        withSpread(result.rate),
        withSpread(result.cpu),
        bar(result)
      ]),
      2
    )
    yield* Console.log([table, "", machine(noise)].join("\n"))
    if (options.quick) return
    yield* writeResults({
      "rpc.json": `${
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
