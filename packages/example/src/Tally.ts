/**
 * The counts of a run.
 */
import type { Event } from "./Reporter.ts"

/** Counts one run. */
export interface Tally {
  /** True when lines about the connection must name their session. */
  readonly hasTwoSessions: boolean
  readonly count: (event: Event) => void
  /** The number of messages that are done. */
  readonly settled: () => number
  readonly summary: () => string
  /** True while every message has ended as it should. */
  readonly isComplete: () => boolean
}

/** Counts confirms, for a run that only publishes. */
export const ofConfirms = (): Tally => {
  let confirmed = 0
  let failed = 0
  return {
    hasTwoSessions: false,
    count(event) {
      if (event._tag === "Confirmed") confirmed++
      if (event._tag === "NotConfirmed") failed++
    },
    settled: () => confirmed + failed,
    summary: () => `published ${confirmed + failed}, confirmed ${confirmed}, failed ${failed}`,
    isComplete: () => failed === 0
  }
}

/** Counts the outcome of each message, for a run of `total` messages that also consumes. */
export const ofDeliveries = (total: number): Tally => {
  const published = new Set<string>()
  const handled = new Set<string>()
  const again = new Set<string>()
  const deadLettered = new Set<string>()
  return {
    hasTwoSessions: true,
    count(event) {
      if (event._tag === "Confirmed") published.add(event.message.messageId)
      if (event._tag === "Handled") (event.times > 1 ? again : handled).add(event.message.messageId)
      if (event._tag === "DeadLettered") deadLettered.add(event.message.messageId)
    },
    settled: () => handled.size + deadLettered.size,
    summary: () =>
      `published ${published.size}, handled ${handled.size}, handled more than once ${again.size}, ` +
      `dead-lettered ${deadLettered.size}`,
    isComplete: () =>
      published.size === total && Array.from(published).every((id) => handled.has(id) || deadLettered.has(id))
  }
}
