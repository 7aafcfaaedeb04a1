/**
 * What is counted in a run.
 */
import type { Event } from "./Reporter.ts"

/** Counts one run. */
export interface Tally {
  /** Whether the lines about the connection have to say which session they mean. */
  readonly hasTwoSessions: boolean
  readonly count: (event: Event) => void
  /** How many messages need nothing more. */
  readonly settled: () => number
  readonly summary: () => string
  /** Whether all messages so far ended as they should. */
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

/** Counts what became of each message, for a run of `total` that also consumes. */
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
