/** The consume benchmark as text. */
import type { Result } from "../consumers/ConsumeBenchmark.ts"
import { consumeVerdicts } from "./Bar.ts"
import type { Compared } from "./Ratios.ts"
import { number, ratio, render, verdictText, withSpread } from "./Table.ts"

const header = [
  "server",
  "contender",
  "prefetch",
  "concurrency",
  "messages/s",
  "ratio",
  "CPU µs",
  "ratio",
  "RSS MB",
  "Effect's",
  "bar"
]

/** The table. */
export const table = (results: ReadonlyArray<Compared<Result>>): string =>
  render(
    header,
    results.map((result) => [
      result.server,
      result.contender,
      String(result.prefetch),
      String(result.concurrency),
      withSpread(result.rate),
      ratio(result.ratios?.rate),
      withSpread(result.cpu),
      ratio(result.ratios?.cpu),
      number(result.peakBytes / 1e6),
      ratio(result.peak),
      verdictText(consumeVerdicts(result))
    ]),
    2
  )
