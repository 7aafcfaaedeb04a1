import type { Result as ConsumeResult } from "../consumers/ConsumeBenchmark.ts"
import type { Measured } from "../measure/Measured.ts"
import type { Summary } from "../measure/Statistics.ts"
import type { Result as PublishResult } from "../publishers/PublishBenchmark.ts"
import type { Bar, Panel } from "./BarChart.ts"
import * as BarChart from "./BarChart.ts"
import { number } from "./Table.ts"

const bodyBytes = 256

interface Shown extends Measured {
  readonly contender: string
  readonly server: string
}

const floor = "raw socket"

const panel = <R extends Shown>(
  title: string,
  results: ReadonlyArray<R>,
  labelOf: (result: R) => string,
  of: (result: R) => Summary,
  isLessBetter: boolean
): Panel => ({
  title,
  bars: results.toSorted((one, other) => (of(one).median - of(other).median) * (isLessBetter ? 1 : -1)).map(
    (result): Bar => {
      const { max, median, min } = of(result)
      return {
        label: labelOf(result),
        value: median,
        low: min,
        high: max,
        text: number(median),
        kind: result.contender.startsWith("effect-amqp") ? "own" : result.contender === floor ? "floor" : "other"
      }
    }
  )
})

/** CPU time a message before RabbitMQ, and messages a second before the instant server. */
const chart = <R extends Shown>(
  heading: string,
  results: ReadonlyArray<R>,
  labelOf: (result: R) => string,
  note: string
): string => {
  const before = (server: string) => results.filter((result) => result.server === server)
  const broker = results.find(({ server }) => server !== "instant")?.server ?? "RabbitMQ"
  return BarChart.render(
    heading,
    [
      panel(`Client CPU, µs a message (${broker}); less is better`, before(broker), labelOf, ({ cpu }) => cpu, true),
      panel("Messages a second (instant server); more is better", before("instant"), labelOf, ({ rate }) => rate, false)
    ],
    note
  )
}

/** The publish benchmark as a chart. */
export const publishChart = (results: ReadonlyArray<PublishResult>, note: string): string =>
  chart(
    "Publishing 256-byte messages with confirms, by contender and number in flight",
    results.filter((result) => result.bodyBytes === bodyBytes && result.inFlight > 1),
    ({ contender, inFlight }) => `${contender}, ${inFlight}`,
    note
  )

/** The consume benchmark as a chart. */
export const consumeChart = (results: ReadonlyArray<ConsumeResult>, note: string): string =>
  chart(
    "Consuming 256-byte messages with acknowledgements at a prefetch of 1,000, by contender and concurrency",
    results.filter(({ prefetch }) => prefetch === 1000),
    ({ concurrency, contender }) => concurrency === 1 ? contender : `${contender}, ${concurrency}`,
    note
  )
