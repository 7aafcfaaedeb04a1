/**
 * What publishers count, for every exporter of Effect's metrics: by exchange, and apart for what the application
 * publishes and for the copies that a consumer's retry makes. Counts are gathered in plain fields and handed over once
 * for all that a batch of frames changed. The gauges of several publishers add up.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { WakeLater } from "../wakeLater.ts"
import { exchangeLabel } from "../wire/exchangeLabel.ts"
import type { Outcome } from "./entry.ts"

// Made anew for each set of attributes: a metric remembers the key of the last one only, and to make a key costs more
// than to count.
const confirmed = () =>
  Metric.counter("amqp_publisher_confirmed", {
    description: "Messages that the broker confirmed and did not return",
    incremental: true
  })
const failed = () =>
  Metric.counter("amqp_publisher_failed", {
    description: "Messages that were not confirmed by their deadline, or were refused",
    incremental: true
  })
const returned = () =>
  Metric.counter("amqp_publisher_returned", {
    description: "Messages that came back because no queue was bound",
    incremental: true
  })
const nacked = () =>
  Metric.counter("amqp_publisher_nacked", {
    description: "Refusals by the broker; a message may be refused several times",
    incremental: true
  })
const republished = () =>
  Metric.counter("amqp_publisher_republished", {
    description: "Messages that were written again after a nack, or after their channel or connection was lost",
    incremental: true
  })
const sent = () =>
  Metric.counter("messaging.client.sent.messages", {
    description: "Messages whose publish has ended, by the type of its error if it failed",
    incremental: true
  })
const waiting = () => Metric.gauge("amqp_publisher_waiting", { description: "Messages that wait to be written" })
const inFlight = () =>
  Metric.gauge("amqp_publisher_in_flight", { description: "Messages written and not confirmed yet" })
const latency = () =>
  Metric.histogram("amqp_publisher_confirm_latency", {
    description: "From the last write of a message to its confirm; of several confirmed at once, the oldest",
    attributes: { time_unit: "milliseconds" },
    boundaries: Metric.exponentialBoundaries({ start: 1, factor: 2, count: 16 })
  })
const duration = () =>
  Metric.histogram("messaging.client.operation.duration", {
    description: "From the call of a publish to its outcome",
    attributes: { unit: "s" },
    // The convention's own boundaries.
    boundaries: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
  })

/** Counts the messages of a queue, or of a publisher, at one moment. */
export interface QueueCounts {
  readonly waiting: number
  readonly inFlight: number
  readonly inFlightBytes: number
}

/** Whose messages a publisher has: the application's, or the copies of a consumer's retry. */
export type Purpose = "publish" | "retry"

/** What was counted of the messages to one exchange, and not handed over yet. */
class Destination {
  confirmed = 0
  failed = 0
  returned = 0
  nacked = 0
  republished = 0
  /** How long publishes took that were confirmed since the last flush. */
  readonly #confirmedMillis: Array<number> = []
  /** By the tag of the reason. */
  readonly #sentByError = new Map<string, Metric.Counter<number>>()
  readonly #attributes: Record<string, string>
  readonly #context: Context.Context<never>
  readonly #duration: Metric.Histogram<number>
  readonly #sent: Metric.Counter<number>
  readonly #counters: ReadonlyArray<
    readonly ["confirmed" | "failed" | "returned" | "nacked" | "republished", Metric.Counter<number>]
  >

  constructor(exchange: string, purpose: Purpose, context: Context.Context<never>) {
    const own = { exchange: exchangeLabel(exchange), purpose }
    this.#context = context
    this.#attributes = {
      "messaging.system": "rabbitmq",
      "messaging.operation.name": purpose,
      "messaging.destination.name": exchangeLabel(exchange)
    }
    this.#duration = Metric.withAttributes(duration(), this.#attributes)
    this.#sent = Metric.withAttributes(sent(), this.#attributes)
    this.#counters = [
      ["confirmed", Metric.withAttributes(confirmed(), own)],
      ["failed", Metric.withAttributes(failed(), own)],
      ["returned", Metric.withAttributes(returned(), own)],
      ["nacked", Metric.withAttributes(nacked(), own)],
      ["republished", Metric.withAttributes(republished(), own)]
    ]
  }

  /** Records the outcome of a message with the milliseconds since its publish. */
  settled(outcome: Outcome, millis: number): void {
    if (outcome === undefined) {
      this.confirmed++
      this.#confirmedMillis.push(millis)
      return
    }
    this.failed++
    const failure = { ...this.#attributes, "error.type": outcome._tag }
    Metric.withAttributes(duration(), failure).updateUnsafe(millis / 1000, this.#context)
    let counter = this.#sentByError.get(outcome._tag)
    if (counter === undefined) {
      counter = Metric.withAttributes(sent(), failure)
      this.#sentByError.set(outcome._tag, counter)
    }
    counter.updateUnsafe(1, this.#context)
  }

  flush(): void {
    const confirmedMillis = this.#confirmedMillis
    for (let i = 0; i < confirmedMillis.length; i++) {
      this.#duration.updateUnsafe(confirmedMillis[i]! / 1000, this.#context)
    }
    confirmedMillis.length = 0
    if (this.confirmed > 0) this.#sent.updateUnsafe(this.confirmed, this.#context)
    for (const [field, counter] of this.#counters) {
      if (this[field] === 0) continue
      counter.updateUnsafe(this[field], this.#context)
      this[field] = 0
    }
  }
}

// Names of exchanges may come from the outside, and each has some twenty metrics that stay for good.
const maxExchanges = 100

/** The name under which the messages to all further exchanges are counted, as OpenTelemetry names what is left over. */
const otherExchanges = "_OTHER"

/** The exchanges that have metrics of their own, by the registry that all publishers of a program share. */
const exchangesOf = new WeakMap<object, Set<string>>()

/** The counts of one publisher. */
export class PublisherMetrics {
  readonly #context: Context.Context<never>
  readonly #wakeLater: WakeLater
  readonly #purpose: Purpose
  readonly #counts: () => QueueCounts
  readonly #waiting: Metric.Gauge<number>
  readonly #inFlight: Metric.Gauge<number>
  readonly #latency: Metric.Histogram<number>
  readonly #destinations = new Map<string, Destination>()
  readonly #exchanges: Set<string>
  /** Most publishers publish to one exchange. */
  #last: { readonly exchange: string; readonly destination: Destination } | undefined
  /** Of the confirms since the last flush. */
  readonly #latencies: Array<number> = []
  #told: QueueCounts | undefined
  #isDue = false

  constructor(
    context: Context.Context<never>,
    wakeLater: WakeLater,
    purpose: Purpose,
    counts: () => QueueCounts
  ) {
    this.#context = context
    const registry = Context.get(context, Metric.MetricRegistry)
    this.#exchanges = exchangesOf.get(registry) ?? new Set()
    exchangesOf.set(registry, this.#exchanges)
    this.#wakeLater = wakeLater
    this.#purpose = purpose
    this.#counts = counts
    this.#waiting = Metric.withAttributes(waiting(), { purpose })
    this.#inFlight = Metric.withAttributes(inFlight(), { purpose })
    this.#latency = Metric.withAttributes(latency(), { purpose })
  }

  /** Counts the messages to an exchange. */
  to(exchange: string): Destination {
    if (this.#last?.exchange === exchange) return this.#last.destination
    const name = this.#nameOf(exchange)
    let destination = this.#destinations.get(name)
    if (destination === undefined) {
      destination = new Destination(name, this.#purpose, this.#context)
      this.#destinations.set(name, destination)
    }
    this.#last = { exchange, destination }
    return destination
  }

  #nameOf(exchange: string): string {
    const known = this.#exchanges
    if (!known.has(exchange) && known.size >= maxExchanges) return otherExchanges
    known.add(exchange)
    return exchange
  }

  /** Records one confirm of one or many messages: the milliseconds since the oldest of them was written. */
  latency(millis: number): void {
    this.#latencies.push(millis)
  }

  /**
   * Hears that counts may have changed, and hands them over when the driver's callback is over, and those whom it wakes
   * have run, and what they wrote has left: the broker can work on that meanwhile.
   */
  changed(): void {
    if (this.#isDue) return
    this.#isDue = true
    this.#wakeLater(this.#flushLater)
  }

  readonly #flushLater = (): void => this.#wakeLater(this.#flush)

  readonly #flush = (): void => {
    this.#isDue = false
    const latencies = this.#latencies
    for (let i = 0; i < latencies.length; i++) this.#latency.updateUnsafe(latencies[i]!, this.#context)
    latencies.length = 0
    for (const destination of this.#destinations.values()) destination.flush()
    const counts = this.#counts()
    const told = this.#told
    // Each update of a metric costs as much as all the rest of a flush; the first one lets the metric exist.
    if (counts.waiting !== told?.waiting) {
      this.#waiting.modifyUnsafe(counts.waiting - (told?.waiting ?? 0), this.#context)
    }
    if (counts.inFlight !== told?.inFlight) {
      this.#inFlight.modifyUnsafe(counts.inFlight - (told?.inFlight ?? 0), this.#context)
    }
    this.#told = counts
  }
}
