/**
 * All messages of a publisher whose owners wait, in the order of submission, on whichever channel they are. The roster
 * alone settles a message and tells its owner.
 */
import type { Entry, Outcome } from "./entry.ts"
import type { PublisherMetrics } from "./metrics.ts"

/** What the roster asks and tells the publisher. */
export interface RosterEvents {
  /** Milliseconds of the clock by which entries were submitted. */
  readonly now: () => number
  /** A message is on its way, and none was before. */
  readonly onBusy: () => void
  /** Nobody waits for a message any more. */
  readonly onIdle: () => void
}

/** The messages that somebody waits for. */
export class Roster {
  readonly #events: RosterEvents
  readonly metrics: PublisherMetrics
  /** The ends of the list. */
  #oldest: Entry | undefined
  #newest: Entry | undefined

  constructor(metrics: PublisherMetrics, events: RosterEvents) {
    this.metrics = metrics
    this.#events = events
  }

  get isIdle(): boolean {
    return this.#oldest === undefined
  }

  /** The message whose owner has waited longest. */
  get oldest(): Entry | undefined {
    return this.#oldest
  }

  add(entry: Entry): void {
    entry.older = this.#newest
    if (this.#newest !== undefined) this.#newest.newer = entry
    this.#newest = entry
    if (this.#oldest !== undefined) return
    this.#oldest = entry
    this.#events.onBusy()
  }

  /** Takes out a message whose owner waits no more. */
  remove(entry: Entry): void {
    const { newer, older } = entry
    if (older === undefined && this.#oldest !== entry) return
    if (older === undefined) this.#oldest = newer
    else older.newer = newer
    if (newer === undefined) this.#newest = older
    else newer.older = older
    entry.older = undefined
    entry.newer = undefined
  }

  /** Ends the waiting for a message. One that was abandoned in flight keeps its place until the broker has answered. */
  settle(entry: Entry, outcome: Outcome, now: number = this.#events.now()): void {
    this.remove(entry)
    if (entry.state !== "Abandoned") entry.state = "Settled"
    this.metrics.to(entry.encoded.exchange).settled(outcome, now - entry.submittedAt)
    entry.owner.settled(outcome, entry)
  }

  /** Lists the messages now. */
  all(): ReadonlyArray<Entry> {
    const entries: Array<Entry> = []
    for (let entry = this.#oldest; entry !== undefined; entry = entry.newer) entries.push(entry)
    return entries
  }

  /** Says what the present state means; called at the end of whatever may have changed it. */
  tell(): void {
    this.metrics.changed()
    if (this.#oldest === undefined) this.#events.onIdle()
  }
}
