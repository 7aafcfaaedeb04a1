import type { Summary } from "../measure/Statistics.ts"
import { floor } from "../publishers/contenders.ts"
import type { Bar, Panel } from "./BarChart.ts"
import * as BarChart from "./BarChart.ts"
import type { Compared } from "./Ratios.ts"
import { number } from "./Table.ts"

const bodyBytes = 256

/**
 * The publish benchmark as a chart: CPU time a message before RabbitMQ, and messages a second before the instant
 * server.
 */
export const publishChart = (results: ReadonlyArray<Compared>, note: string): string => {
  const shown = results.filter((result) =>
    result.bodyBytes === bodyBytes && result.inFlight > 1 && !result.contender.startsWith("Effect.callback")
  )
  const [broker = "RabbitMQ"] = shown.map(({ server }) => server)
  const panel = (
    title: string,
    server: string,
    of: (result: Compared) => Summary,
    best: (one: number, other: number) => number,
    without?: Compared["contender"]
  ): Panel => ({
    title,
    bars: shown.filter((result) => result.server === server && result.contender !== without)
      .sort((one, other) => best(of(one).median, of(other).median))
      .map((result): Bar => {
        const { max, median, min } = of(result)
        return {
          label: `${result.contender}, ${result.inFlight}`,
          value: median,
          low: min,
          high: max,
          text: number(median),
          own: result.contender.startsWith("effect-amqp")
        }
      })
  })
  return BarChart.render(
    "Publishing 256-byte messages with confirms, by contender and number in flight",
    [
      panel(
        `Client CPU, µs a message (${broker}); less is better`,
        broker,
        ({ cpu }) => cpu,
        (one, other) => one - other
      ),
      panel(
        "Confirmed messages a second (instant server); more is better",
        "instant",
        ({ rate }) => rate,
        (one, other) => other - one,
        // The raw socket is ten times as fast as any client: their bars would be dots beside its bar.
        floor
      )
    ],
    note
  )
}
