/** `bench memory-broker`: measures the in-process broker, prints the table, and writes the results down. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { Calibration } from "../measure/Noise.ts"
import { machine } from "../report/noiseText.ts"
import { writeResults } from "../report/resultFiles.ts"
import { render, withSpread } from "../report/Table.ts"
import * as MemoryBrokerBenchmark from "./MemoryBrokerBenchmark.ts"

const promised = 100_000

/** Runs the benchmark. */
export const run = Effect.gen(function*() {
  const calibration = new Calibration()
  for (let i = 0; i < 10; i++) calibration.sample()
  const results = yield* MemoryBrokerBenchmark.run
  for (let i = 0; i < 10; i++) calibration.sample()
  const noise = calibration.result()
  const table = render(
    ["memory broker", "messages/s", "CPU µs", "bar"],
    results.map(({ cpu, name, rate }) => [
      name,
      withSpread(rate),
      withSpread(cpu),
      rate.median >= promised ? "kept" : `missed: ${promised} messages a second`
    ]),
    1
  )
  yield* Console.log([table, "", machine(noise)].join("\n"))
  yield* writeResults({
    "memory-broker.json": `${
      JSON.stringify(
        { when: new Date().toISOString().slice(0, 10), node: process.version, noise, results },
        undefined,
        2
      )
    }\n`
  })
})
