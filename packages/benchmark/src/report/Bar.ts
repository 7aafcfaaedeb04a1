/** Compares the figures of this library with its promises, line by line. */
import type { Compared } from "./Ratios.ts"

/** One promise with the figure of this run. */
export interface Verdict {
  readonly promise: string
  readonly measured: number
  readonly limit: number
  readonly kept: boolean
}

/** A promise not to exceed a limit. */
export const atMost = (promise: string, measured: number, limit: number): Verdict => ({
  promise,
  measured,
  limit,
  kept: measured <= limit
})

/** A promise not to fall below a limit. */
export const atLeast = (promise: string, measured: number, limit: number): Verdict => ({
  promise,
  measured,
  limit,
  kept: measured >= limit
})

const cpuLimit = (result: Compared): number | undefined =>
  result.bodyBytes !== 256
    ? undefined
    : result.contender === "effect-amqp publishAll" || result.contender === "effect-amqp sink"
    ? 1.15
    : result.contender === "effect-amqp publish" && result.inFlight === 100
    ? 2
    : undefined

/** The verdicts on one result. The results of other clients have none. */
export const verdicts = (result: Compared): ReadonlyArray<Verdict> => {
  if (result.ratios === undefined || !result.contender.startsWith("effect-amqp")) return []
  const limit = cpuLimit(result)
  return [
    ...(limit === undefined ? [] : [atMost("CPU a message", result.ratios.cpu, limit)]),
    // Before the instant server, messages a second only repeat the CPU time.
    ...(result.server === "instant" ? [] : [atLeast("messages a second", result.ratios.rate, 0.95)]),
    atMost("peak RSS", result.ratios.peak, 1.3)
  ]
}
