/** What each contender costs as a multiple of raw amqplib in the same heat, at the same window. */
import type { Ratios } from "../measure/Measured.ts"
import { ratios } from "../measure/Measured.ts"
import type { ContenderName } from "../publishers/contenders.ts"
import { baseline, sameMessage } from "../publishers/contenders.ts"
import type { Result } from "../publishers/PublishBenchmark.ts"

/** A result beside raw amqplib; there are no ratios to itself. */
export interface Compared extends Result {
  readonly ratios: Ratios | undefined
  /** To raw amqplib that sends the same properties as this library; only for this library. */
  readonly toSameMessage: Ratios | undefined
}

/** Set every result beside raw amqplib with the same server, body and window. */
export const compare = (results: ReadonlyArray<Result>): ReadonlyArray<Compared> => {
  const ratiosTo = (contender: ContenderName, result: Result): Ratios | undefined => {
    const base = results.find((other) =>
      other.contender === contender && other.server === result.server && other.bodyBytes === result.bodyBytes &&
      other.inFlight === result.inFlight
    )
    return base === undefined || base === result ? undefined : ratios(result, base)
  }
  return results.map((result): Compared =>
    Object.assign(result, {
      ratios: ratiosTo(baseline, result),
      toSameMessage: result.contender.startsWith("effect-amqp") ? ratiosTo(sameMessage, result) : undefined
    })
  )
}
