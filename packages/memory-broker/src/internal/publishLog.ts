/**
 * The last messages that were published, for tests that look at them.
 */
import type { WireMessage } from "effect-amqp/AmqpDriver"

/**
 * A message that was published, and the queues that took it.
 *
 * @category models
 * @since 0.1.0
 */
export interface PublishRecord {
  readonly vhost: string
  readonly exchange: string
  readonly routingKey: string
  readonly messageId: string | undefined
  readonly body: Uint8Array
  readonly queues: ReadonlyArray<string>
}

/** How many published messages are remembered. */
const capacity = 10_000

export class PublishLog {
  /** A ring: once it is full, the next message replaces the oldest. */
  readonly #records: Array<PublishRecord> = []
  #count = 0

  add(vhost: string, wire: WireMessage, queues: ReadonlyArray<string>): void {
    this.#records[this.#count++ % capacity] = {
      vhost,
      exchange: wire.exchange,
      routingKey: wire.routingKey,
      messageId: wire.properties.messageId,
      body: wire.body,
      queues
    }
  }

  /** The oldest first. */
  get records(): ReadonlyArray<PublishRecord> {
    const start = this.#count > capacity ? this.#count % capacity : 0
    return [...this.#records.slice(start), ...this.#records.slice(0, start)]
  }
}
