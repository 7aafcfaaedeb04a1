/** The publish benchmark as text. */
import type { Noise } from "../measure/Noise.ts"
import { spread } from "../measure/Statistics.ts"
import { floor } from "../publishers/contenders.ts"
import type { Result } from "../publishers/PublishBenchmark.ts"
import { bytes } from "../publishers/PublishBenchmark.ts"
import { publishVerdicts } from "./Bar.ts"
import { machine } from "./noiseText.ts"
import type { Compared } from "./Ratios.ts"
import { number, percent, ratio, render, verdictText, withSpread } from "./Table.ts"

const header = [
  "server",
  "body",
  "contender",
  "in flight",
  "messages/s",
  "ratio",
  "CPU µs",
  "ratio",
  "RSS MB",
  "Effect's",
  "p50 ms",
  "p99 ms",
  "bar"
]

/** The table. */
export const table = (results: ReadonlyArray<Compared<Result>>): string =>
  render(
    header,
    results.map((result) => [
      result.server,
      bytes(result.bodyBytes),
      result.contender,
      String(result.inFlight),
      withSpread(result.rate),
      ratio(result.ratios?.rate),
      withSpread(result.cpu),
      ratio(result.ratios?.cpu),
      number(result.peakBytes / 1e6),
      ratio(result.peak),
      number(result.latency.p50),
      number(result.latency.p99),
      verdictText(publishVerdicts(result))
    ]),
    3
  )

/** The cost of `publish` above raw amqplib, and of an `Effect.timeout` around each message, by server. */
export const timeoutShare = (results: ReadonlyArray<Compared<Result>>): ReadonlyArray<string> =>
  [...new Set(results.map(({ server }) => server))].flatMap((server) => {
    const cpuOf = (contender: Result["contender"]) =>
      results.find((result) =>
        result.server === server && result.bodyBytes === 256 && result.inFlight === 100 &&
        result.contender === contender
      )?.cpu.median
    const publish = cpuOf("effect-amqp publish")
    const base = cpuOf("amqplib, callbacks")
    const bare = cpuOf("Effect.callback")
    const timed = cpuOf("Effect.callback, timeout")
    if (publish === undefined || base === undefined || bare === undefined || timed === undefined) return []
    return [
      `${server}: publish from 100 fibers costs ${number(publish)} µs, raw amqplib ${
        number(base)
      } µs, and the smallest ` +
      `Effect around it ${number(bare)} µs; an Effect.timeout around each message would cost ${number(timed - bare)} ` +
      "µs more, so one watches over all of them"
    ]
  })

/** Says how far the figures can be trusted. */
export const noise = (noise: Noise, results: ReadonlyArray<Compared<Result>>): ReadonlyArray<string> => [
  machine(noise),
  ...results.filter((result) => result.contender === floor && result.bodyBytes === 256).map((result) =>
    `the floor varied by ±${percent(spread(result.cpu))} in CPU and ±${percent(spread(result.rate))} in messages a ` +
    `second (${result.server}, ${result.inFlight} in flight)`
  )
]
