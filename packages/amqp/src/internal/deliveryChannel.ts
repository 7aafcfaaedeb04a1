/**
 * The acknowledgements of one opened channel. A delivery keeps the channel that handed it out, so that no tag can ever
 * be written on another one: after the channel is gone its acknowledgements are counted and dropped.
 */
import type { DriverChannel } from "../AmqpDriver.ts"

/** Acknowledges deliveries of one channel, each at most once. */
export class DeliveryChannel {
  readonly #channel: DriverChannel
  readonly #onStale: () => void
  /** Everything up to this tag was settled by an acknowledgement of many. */
  #settledUpTo = 0

  constructor(channel: DriverChannel, onStale: () => void) {
    this.#channel = channel
    this.#onStale = onStale
  }

  /** Whether the frame was written; not if the channel is gone, or the tag was settled with others before. */
  ack(tag: number, multiple: boolean): boolean {
    return this.#settle(tag, multiple, () => this.#channel.ackUnsafe(tag, multiple))
  }

  nack(tag: number, multiple: boolean, requeue: boolean): boolean {
    return this.#settle(tag, multiple, () => this.#channel.nackUnsafe(tag, multiple, requeue))
  }

  reject(tag: number, requeue: boolean): boolean {
    return this.#settle(tag, false, () => this.#channel.rejectUnsafe(tag, requeue))
  }

  #settle(tag: number, multiple: boolean, write: () => boolean): boolean {
    if (tag <= this.#settledUpTo) return false
    if (!write()) {
      this.#onStale()
      return false
    }
    if (multiple) this.#settledUpTo = tag
    return true
  }
}
