/**
 * What publishers count, for every exporter of Effect's metrics. Counts are gathered in plain fields and handed over
 * once for all that a batch of frames changed.
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { WakeLater } from "../wakeLater.ts"

const confirmed = Metric.counter("amqp_publisher_confirmed", {
  description: "Messages that the broker confirmed and did not return",
  incremental: true
})
const failed = Metric.counter("amqp_publisher_failed", {
  description: "Messages that were not confirmed by their deadline, or were refused",
  incremental: true
})
const returned = Metric.counter("amqp_publisher_returned", {
  description: "Messages that came back because no queue was bound",
  incremental: true
})
const nacked = Metric.counter("amqp_publisher_nacked", {
  description: "Refusals by the broker; a message may be refused several times",
  incremental: true
})
const republished = Metric.counter("amqp_publisher_republished", {
  description: "Messages that were written again after a nack, or after their channel or connection was lost",
  incremental: true
})
const waiting = Metric.gauge("amqp_publisher_waiting", { description: "Messages that wait to be written" })
const inFlight = Metric.gauge("amqp_publisher_in_flight", { description: "Messages written and not confirmed yet" })
const latency = Metric.histogram("amqp_publisher_confirm_latency", {
  description: "From the last write of a message to its confirm; of several confirmed at once, the oldest",
  attributes: { time_unit: "milliseconds" },
  boundaries: Metric.exponentialBoundaries({ start: 1, factor: 2, count: 16 })
})

/** Counts the messages of a queue, or of a publisher, at one moment. */
export interface QueueCounts {
  readonly waiting: number
  readonly inFlight: number
  readonly inFlightBytes: number
}

/** The counts of one publisher. */
export class PublisherMetrics {
  readonly #context: Context.Context<never>
  readonly #wakeLater: WakeLater
  readonly #counts: () => QueueCounts
  #isDue = false
  confirmed = 0
  failed = 0
  returned = 0
  nacked = 0
  republished = 0

  constructor(context: Context.Context<never>, wakeLater: WakeLater, counts: () => QueueCounts) {
    this.#context = context
    this.#wakeLater = wakeLater
    this.#counts = counts
  }

  /** Records one confirm of one or many messages: the milliseconds since the oldest of them was written. */
  latency(millis: number): void {
    latency.updateUnsafe(millis, this.#context)
  }

  /** Hears that counts may have changed, and hands them over when the driver's callback is over. */
  changed(): void {
    if (this.#isDue) return
    this.#isDue = true
    this.#wakeLater(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isDue = false
    this.#add(confirmed, this.confirmed)
    this.#add(failed, this.failed)
    this.#add(returned, this.returned)
    this.#add(nacked, this.nacked)
    this.#add(republished, this.republished)
    this.confirmed =
      this.failed =
      this.returned =
      this.nacked =
      this.republished =
        0
    const counts = this.#counts()
    waiting.updateUnsafe(counts.waiting, this.#context)
    inFlight.updateUnsafe(counts.inFlight, this.#context)
  }

  #add(counter: Metric.Counter<number>, count: number): void {
    if (count > 0) counter.updateUnsafe(count, this.#context)
  }
}
