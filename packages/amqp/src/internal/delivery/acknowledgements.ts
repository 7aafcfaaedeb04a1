/**
 * The acknowledgements of one opened channel. A delivery keeps the channel that handed it out, so that no tag can ever
 * be written on another one: after the channel is gone its acknowledgements are counted and dropped.
 */
import type { DriverChannel } from "../../AmqpDriver.ts"

/** Acknowledges deliveries of one channel, each at most once. */
export class DeliveryChannel {
  readonly #channel: DriverChannel
  readonly #onStale: (wasPromised: boolean) => void
  /** Everything up to this tag was settled by an acknowledgement of many. */
  #settledUpTo = 0
  /** Tags that were delivered and are not settled, in their order; only if it is told of deliveries. */
  readonly #outstanding = new Set<number>()
  /** Tags that are acknowledged by the next flush. */
  #due: Array<number> = []

  constructor(channel: DriverChannel, onStale: (wasPromised: boolean) => void) {
    this.#channel = channel
    this.#onStale = onStale
  }

  get isOpen(): boolean {
    return this.#channel.isOpen()
  }

  /** Whether a tag was settled by an acknowledgement of many. */
  isSettled(tag: number): boolean {
    return tag <= this.#settledUpTo
  }

  /** Be told of a delivery, whose acknowledgement may be put off with {@link ackSoon}. */
  delivered(tag: number): void {
    this.#outstanding.add(tag)
  }

  /** Whether the frame was written; not if the channel is gone, or the tag was settled with others before. */
  ack(tag: number, multiple: boolean): boolean {
    return tag > this.#settledUpTo && this.#settled(tag, multiple, this.#channel.ackUnsafe(tag, multiple))
  }

  nack(tag: number, multiple: boolean, requeue: boolean): boolean {
    // What is due is acknowledged, and must not be refused with the others.
    if (multiple) this.flush()
    return tag > this.#settledUpTo && this.#settled(tag, multiple, this.#channel.nackUnsafe(tag, multiple, requeue))
  }

  reject(tag: number, requeue: boolean): boolean {
    return tag > this.#settledUpTo && this.#settled(tag, false, this.#channel.rejectUnsafe(tag, requeue))
  }

  /** As {@link ack}, written with the next flush: most of what an acknowledgement costs is its frame. */
  ackSoon(tag: number): boolean {
    if (tag <= this.#settledUpTo) return false
    if (!this.isOpen) {
      this.#onStale(false)
      return false
    }
    this.#outstanding.delete(tag)
    this.#due.push(tag)
    return true
  }

  /** Write what is due, in one frame as far as no tag that is still open lies below. */
  flush(): void {
    const due = this.#due
    if (due.length === 0) return
    this.#due = []
    if (!this.isOpen) {
      for (let count = 0; count < due.length; count++) this.#onStale(true)
      return
    }
    if (due.length === 1) {
      this.ack(due[0]!, false)
      return
    }
    const { done, value } = this.#outstanding.values().next()
    const lowest = done === true ? Number.POSITIVE_INFINITY : value
    let upTo = 0
    for (const tag of due) if (tag < lowest && tag > upTo) upTo = tag
    if (upTo > 0) this.ack(upTo, true)
    for (const tag of due) if (tag > upTo) this.ack(tag, false)
  }

  #settled(tag: number, multiple: boolean, written: boolean): boolean {
    if (!written) this.#onStale(false)
    else if (!multiple) this.#outstanding.delete(tag)
    else {
      this.#settledUpTo = tag
      for (const below of this.#outstanding) {
        if (below > tag) break
        this.#outstanding.delete(below)
      }
    }
    return written
  }
}
