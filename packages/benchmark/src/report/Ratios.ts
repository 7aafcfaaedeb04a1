/** The cost of each contender as a multiple of raw amqplib in the same heat, at the same window. */
import type { Ratios } from "../measure/Measured.ts"
import { ratios } from "../measure/Measured.ts"
import { baseline } from "../publishers/contenders.ts"
import type { Result } from "../publishers/PublishBenchmark.ts"

/** A result beside raw amqplib. Raw amqplib itself has no ratios. */
export interface Compared extends Result {
  readonly ratios: Ratios | undefined
}

/** Sets every result beside raw amqplib with the same server, body and window. */
export const compare = (results: ReadonlyArray<Result>): ReadonlyArray<Compared> =>
  results.map((result): Compared => {
    const base = results.find((other) =>
      other.contender === baseline && other.server === result.server && other.bodyBytes === result.bodyBytes &&
      other.inFlight === result.inFlight
    )
    return Object.assign(result, { ratios: base === undefined || base === result ? undefined : ratios(result, base) })
  })
