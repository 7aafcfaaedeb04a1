/**
 * The acknowledgements of one opened channel. A delivery keeps the acknowledgements of the channel that handed it out,
 * so that no tag is ever written on another channel: once that is gone, its acknowledgements are counted and dropped.
 */
import type { DriverChannel } from "../../AmqpDriver.ts"
import type { Address } from "../../AmqpError.ts"

/** Where deliveries come from. */
export interface Origin {
  readonly address: Address
  /** The name of the connection, which the broker shows. */
  readonly connectionName: string
}

// Of the prefetch. The broker sends on meanwhile, and what it sends is handled.
const pressingShare = 0.25

/** Acknowledges deliveries of one channel, each at most once. */
export class Acknowledgements {
  readonly origin: Origin
  readonly #channel: DriverChannel
  readonly #onStale: (wasPromised: boolean) => void
  #acknowledgesOnly: boolean
  readonly #pressingFrom: number
  /** The broker has everything back, though the channel is still open. */
  #isReleased = false
  /** An acknowledgement of many settled every tag up to this one. */
  #settledUpTo = 0
  /** Tags that were delivered and are not settled, in their order; empty unless {@link delivered} is called. */
  readonly #outstanding = new Set<number>()
  /** The last tag that was told of. */
  #told = 0
  /** All tags below it are settled. */
  #lowest = 1
  /** Tags that the next flush acknowledges. */
  #due: Array<number> = []

  constructor(
    channel: DriverChannel,
    origin: Origin,
    onStale: (wasPromised: boolean) => void,
    options?: {
      /** Acknowledges also what is refused: RabbitMQ 3.10 closes the connection at a refusal on a stream. */
      readonly acknowledgesOnly?: boolean
      /** The messages that the broker lets be out at once. */
      readonly prefetch?: number
    }
  ) {
    this.#channel = channel
    this.origin = origin
    this.#onStale = onStale
    this.#acknowledgesOnly = options?.acknowledgesOnly === true
    this.#pressingFrom = Math.max(1, Math.floor((options?.prefetch ?? 1) * pressingShare))
  }

  get acknowledgesOnly(): boolean {
    return this.#acknowledgesOnly
  }

  get isOpen(): boolean {
    return !this.#isReleased && this.#channel.isOpen()
  }

  /** True when so much is due that the broker may run out of messages that it may send. */
  get isPressing(): boolean {
    return this.#due.length >= this.#pressingFrom
  }

  /** True while a delivery that was told of waits for its acknowledgement. */
  get isAwaited(): boolean {
    return this.#outstanding.size > 0
  }

  /** Returns the tags below one that were told of and are not settled. */
  outstandingBelow(tag: number): Array<number> {
    return Array.from(this.#outstanding).filter((outstanding) => outstanding < tag)
  }

  /** Acknowledges from now on also what is refused. */
  acknowledgeOnly(): void {
    this.#acknowledgesOnly = true
  }

  /** Gives everything back that is out, because no more comes on the channel; later acknowledgements are stale. */
  release(): void {
    this.flush()
    const last = Array.from(this.#outstanding).at(-1)
    if (last !== undefined && !this.#acknowledgesOnly && this.isOpen) this.#channel.nackUnsafe(last, true, true)
    this.#outstanding.clear()
    this.#isReleased = true
  }

  /** Tells that an acknowledgement of many settled the tag. */
  isSettled(tag: number): boolean {
    return tag <= this.#settledUpTo
  }

  /** Notes a delivery, whose acknowledgement may be put off with {@link ackSoon}. */
  delivered(tag: number): void {
    this.#outstanding.add(tag)
    this.#told = tag
  }

  /** Writes `basic.ack`; returns `false` if the channel is gone, or if an acknowledgement of many settled the tag. */
  ack(tag: number, multiple: boolean): boolean {
    if (tag <= this.#settledUpTo) return false
    // With nothing open below it says the same, and the writer keeps of many in a row only the last.
    const upTo = multiple || (this.#due.length === 0 && tag <= this.#told && this.#lowestOpen() === tag)
    return this.#settled(tag, multiple, !this.#isReleased && this.#channel.ackUnsafe(tag, upTo))
  }

  /** The first tag that is not settled of those that were told of; the next one if all are. */
  #lowestOpen(): number {
    // A set that is emptied from its front is slow to find its first.
    while (this.#lowest <= this.#told && !this.#outstanding.has(this.#lowest)) this.#lowest++
    return this.#lowest
  }

  /** Writes `basic.nack`; otherwise as {@link ack}. */
  nack(tag: number, multiple: boolean, requeue: boolean): boolean {
    // What is due is acknowledged, and must not be refused with the others.
    if (multiple) this.flush()
    if (this.#acknowledgesOnly) return this.ack(tag, multiple)
    return tag > this.#settledUpTo &&
      this.#settled(tag, multiple, !this.#isReleased && this.#channel.nackUnsafe(tag, multiple, requeue))
  }

  /** Writes `basic.reject`; otherwise as {@link ack}. */
  reject(tag: number, requeue: boolean): boolean {
    if (this.#acknowledgesOnly) return this.ack(tag, false)
    return tag > this.#settledUpTo &&
      this.#settled(tag, false, !this.#isReleased && this.#channel.rejectUnsafe(tag, requeue))
  }

  /** Acknowledges with the next flush, otherwise as {@link ack}: most of what an acknowledgement costs is its frame. */
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

  /** Writes what is due, in one frame as far as no tag that is still open lies below. */
  flush(): void {
    const due = this.#due
    if (due.length === 0) return
    this.#due = []
    if (due.length === 1) return this.#ackDue(due[0]!, false, 1)
    const lowest = this.#told === 0 ? Number.POSITIVE_INFINITY : this.#lowestOpen()
    let upTo = 0
    let below = 0
    for (const tag of due) {
      if (tag >= lowest) continue
      below++
      if (tag > upTo) upTo = tag
    }
    if (upTo > 0) this.#ackDue(upTo, below > 1, below)
    if (below === due.length) return
    for (const tag of due) if (tag > upTo) this.#ackDue(tag, false, 1)
  }

  /** Writes an acknowledgement that was promised to so many. */
  #ackDue(tag: number, multiple: boolean, promised: number): void {
    if (tag <= this.#settledUpTo) return
    if (this.isOpen && this.#channel.ackUnsafe(tag, multiple)) {
      if (multiple) this.#settledTo(tag)
      return
    }
    for (let count = 0; count < promised; count++) this.#onStale(true)
  }

  #settled(tag: number, multiple: boolean, written: boolean): boolean {
    if (!written) this.#onStale(false)
    else if (multiple) this.#settledTo(tag)
    else this.#outstanding.delete(tag)
    return written
  }

  #settledTo(tag: number): void {
    this.#settledUpTo = tag
    for (const below of this.#outstanding) {
      if (below > tag) break
      this.#outstanding.delete(below)
    }
  }
}
