/** The consume benchmark as text. */
import type { Result } from "../consumers/ConsumeBenchmark.ts"
import type { Verdict } from "./Bar.ts"
import { atLeast, atMost } from "./Bar.ts"
import { number, ratio, render, verdictText, withSpread } from "./Table.ts"

/** The promises about consuming. */
export const verdicts = (result: Result): ReadonlyArray<Verdict> =>
  result.contender !== "effect-amqp" || result.prefetch !== 1000 || result.ratios === undefined ? [] : [
    atMost("CPU a message", result.ratios.cpu, 1.2),
    atLeast("messages a second", result.ratios.rate, 0.95)
  ]

const header = [
  "contender",
  "prefetch",
  "concurrency",
  "messages/s",
  "ratio",
  "CPU µs",
  "ratio",
  "RSS MB",
  "ratio",
  "bar"
]

/** The table. */
export const table = (results: ReadonlyArray<Result>): string =>
  render(
    header,
    results.map((result) => [
      result.contender,
      String(result.prefetch),
      String(result.concurrency),
      withSpread(result.rate),
      ratio(result.ratios?.rate),
      withSpread(result.cpu),
      ratio(result.ratios?.cpu),
      number(result.peakBytes / 1e6),
      ratio(result.ratios?.peak),
      verdictText(verdicts(result))
    ]),
    1
  )
