/** Whether this library is within what it promises, line by line. */
import type { Result as ConsumeResult } from "../consumers/ConsumeBenchmark.ts"
import type { Result as PublishResult } from "../publishers/PublishBenchmark.ts"
import type { Compared } from "./Ratios.ts"

/** One promise, and how it was kept in this run. */
export interface Verdict {
  readonly promise: string
  readonly measured: number
  readonly limit: number
  readonly kept: boolean
}

const atMost = (promise: string, measured: number | undefined, limit: number | undefined): ReadonlyArray<Verdict> =>
  measured === undefined || limit === undefined ? [] : [{ promise, measured, limit, kept: measured <= limit }]

const atLeast = (promise: string, measured: number, limit: number | undefined): ReadonlyArray<Verdict> =>
  limit === undefined ? [] : [{ promise, measured, limit, kept: measured >= limit }]

const isOwn = (contender: string): boolean => contender.startsWith("effect-amqp")

/** The promises about every cell. */
const everywhere = <R extends { readonly server: string }>(result: Compared<R>): ReadonlyArray<Verdict> => [
  // Before the instant server, messages a second are CPU time once more.
  ...(result.server === "instant" ? [] : atLeast("messages a second", result.ratios!.rate, 0.95)),
  ...atMost("CPU of every peer", result.ratios!.cpu, result.cheapestPeer),
  ...atMost("peak RSS", result.peak, 1.1)
]

const publishLimit = ({ bodyBytes, contender, inFlight, server }: PublishResult): number | undefined => {
  if (bodyBytes !== 256) return undefined
  const isInstant = server === "instant"
  switch (`${contender === "effect-amqp publish" ? "publish" : "pipeline"} ${inFlight}`) {
    case "pipeline 100":
      return isInstant ? 0.28 : 0.45
    case "pipeline 1000":
      return isInstant ? 0.25 : 0.35
    case "publish 100":
      return isInstant ? 0.32 : 0.5
    case "publish 1000":
      return isInstant ? 0.4 : 0.6
    default:
      return undefined
  }
}

const rateLimit = ({ bodyBytes, contender, inFlight, server }: PublishResult): number | undefined =>
  server === "instant" && bodyBytes === 256 && contender === "effect-amqp publishAll" && inFlight === 1000
    ? 4.5
    : undefined

/** The verdicts on one result of publishing; none on those of others. */
export const publishVerdicts = (result: Compared<PublishResult>): ReadonlyArray<Verdict> =>
  result.ratios === undefined || !isOwn(result.contender) ? [] : [
    ...atMost("CPU a message", result.ratios.cpu, publishLimit(result)),
    ...atLeast("messages a second", result.ratios.rate, rateLimit(result)),
    ...everywhere(result)
  ]

const consumeLimit = ({ contender, prefetch, server }: ConsumeResult): number | undefined =>
  prefetch !== 1000 ? undefined : contender === "effect-amqp stream" ? 0.85 : server === "instant" ? 0.6 : 0.8

/** The verdicts on one result of consuming; none on those of others. */
export const consumeVerdicts = (result: Compared<ConsumeResult>): ReadonlyArray<Verdict> =>
  result.ratios === undefined || !isOwn(result.contender) ? [] : [
    ...atMost("CPU a message", result.ratios.cpu, consumeLimit(result)),
    ...everywhere(result)
  ]
