/**
 * What publishers count, for every exporter of Effect's metrics. Counts are gathered in plain fields and handed over
 * once for all that a batch of frames changed.
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { QueueCounts } from "./queue.ts"

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

/** The counts of one publisher. */
export class PublisherMetrics {
  readonly #context: Context.Context<never>
  confirmed = 0
  failed = 0
  returned = 0
  nacked = 0
  republished = 0

  constructor(context: Context.Context<never>) {
    this.#context = context
  }

  latency(millis: number): void {
    latency.updateUnsafe(millis, this.#context)
  }

  /** Hand over what was counted since the last time. */
  flush(counts: QueueCounts): void {
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
    waiting.updateUnsafe(counts.waiting, this.#context)
    inFlight.updateUnsafe(counts.inFlight, this.#context)
  }

  #add(counter: Metric.Counter<number>, count: number): void {
    if (count > 0) counter.updateUnsafe(count, this.#context)
  }
}
