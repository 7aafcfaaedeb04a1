/**
 * What consumers count. Counts are gathered in plain fields and handed to the metrics once a turn, because a message
 * may cost less than an update of a metric does.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { Unhandled } from "./fate.ts"

// Made anew for each set of attributes: a metric remembers the key of the last one only, and to make a key costs more
// than to count.
const delivered = () =>
  Metric.counter("amqp_consumer_delivered", {
    description: "Messages that the broker delivered",
    incremental: true
  })
const acked = () =>
  Metric.counter("amqp_consumer_acked", {
    description: "Messages that were handled and acknowledged",
    incremental: true
  })
const failed = () =>
  Metric.counter("amqp_consumer_failed", {
    description: "Messages that were not handled, by what was done with them",
    incremental: true
  })
const stale = () =>
  Metric.counter("amqp_consumer_stale", {
    description: "Acknowledgements that came after their channel was gone, and were dropped",
    incremental: true
  })
const inProgress = () =>
  Metric.gauge("amqp_consumer_in_progress", {
    description: "Handlers that run now"
  })
const consumed = () =>
  Metric.counter("messaging.client.consumed.messages", {
    description: "Messages that were delivered to the program",
    incremental: true
  })
const duration = () =>
  Metric.histogram("messaging.process.duration", {
    description: "From the delivery of a message to a handler to what it came to",
    attributes: { unit: "s" },
    // The convention's own boundaries.
    boundaries: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
  })

/** Counts of messages since the consumer was made. */
export interface ConsumerCounts {
  readonly delivered: number
  readonly acked: number
  /** Messages that were refused and that the dead letter exchange keeps, if the queue has one. */
  readonly deadLettered: number
  /** Messages that were refused where no dead letter exchange keeps them, or passed over on a stream. */
  readonly dropped: number
  /** Messages that failed and went back to their queue at once. */
  readonly requeued: number
  /** Messages that went back to their queue though nothing failed: at the end, or at the acknowledgement timeout. */
  readonly givenBack: number
  readonly retried: number
  readonly parked: number
  /** Acknowledgements that came after their channel was gone: those messages come again. */
  readonly stale: number
  /** Handlers that run now. */
  readonly inProgress: number
}

/** The counts of one consumer. */
export class ConsumerMetrics {
  readonly #context: Context.Context<never>
  readonly #inProgress: () => number
  readonly #duration: Metric.Metric<number, unknown>
  readonly #failedDuration: Metric.Metric<number, unknown>
  readonly #gauge: Metric.Metric<number, unknown>
  readonly #counters: ReadonlyArray<readonly [Metric.Metric<number, unknown>, () => number]>
  readonly #told: Array<number>
  /** How long handlers ran that succeeded since the last flush. */
  readonly #handledMillis: Array<number> = []
  #toldInProgress = 0

  delivered = 0
  acked = 0
  stale = 0
  readonly unhandled: Record<Unhandled, number> = {
    deadLetter: 0,
    drop: 0,
    requeue: 0,
    giveBack: 0,
    retry: 0,
    park: 0
  }

  constructor(queue: string, context: Context.Context<never>, inProgressNow: () => number) {
    const attributes = { queue }
    const failedBy = (policy: Unhandled) =>
      [Metric.withAttributes(failed(), { queue, policy }), () => this.unhandled[policy]] as const
    this.#context = context
    this.#inProgress = inProgressNow
    const conventional = {
      "messaging.system": "rabbitmq",
      "messaging.operation.name": "process",
      "messaging.destination.name": queue
    }
    this.#duration = Metric.withAttributes(duration(), conventional)
    this.#failedDuration = Metric.withAttributes(duration(), { ...conventional, "error.type": "_OTHER" })
    this.#gauge = Metric.withAttributes(inProgress(), attributes)
    this.#counters = [
      [Metric.withAttributes(delivered(), attributes), () => this.delivered],
      [Metric.withAttributes(consumed(), conventional), () => this.delivered],
      [Metric.withAttributes(acked(), attributes), () => this.acked],
      [Metric.withAttributes(stale(), attributes), () => this.stale],
      failedBy("deadLetter"),
      failedBy("drop"),
      failedBy("requeue"),
      failedBy("giveBack"),
      failedBy("retry"),
      failedBy("park")
    ]
    this.#told = this.#counters.map(() => 0)
  }

  /** Records how long a handler ran. */
  handled(millis: number, hasFailed: boolean): void {
    if (hasFailed) this.#failedDuration.updateUnsafe(millis / 1000, this.#context)
    else this.#handledMillis.push(millis)
  }

  /** Hands over what was counted since the last flush. */
  flush(): void {
    const handledMillis = this.#handledMillis
    for (let i = 0; i < handledMillis.length; i++) this.#duration.updateUnsafe(handledMillis[i]! / 1000, this.#context)
    handledMillis.length = 0
    for (let i = 0; i < this.#counters.length; i++) {
      const [counter, read] = this.#counters[i]!
      const count = read()
      if (count === this.#told[i]) continue
      counter.updateUnsafe(count - this.#told[i]!, this.#context)
      this.#told[i] = count
    }
    const running = this.#inProgress()
    if (running === this.#toldInProgress) return
    // Several consumers of a queue add up.
    this.#gauge.modifyUnsafe(running - this.#toldInProgress, this.#context)
    this.#toldInProgress = running
  }

  counts(): ConsumerCounts {
    return {
      delivered: this.delivered,
      acked: this.acked,
      deadLettered: this.unhandled.deadLetter,
      dropped: this.unhandled.drop,
      requeued: this.unhandled.requeue,
      givenBack: this.unhandled.giveBack,
      retried: this.unhandled.retry,
      parked: this.unhandled.park,
      stale: this.stale,
      inProgress: this.#inProgress()
    }
  }
}
