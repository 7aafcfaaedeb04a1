/**
 * What is in flight on one channel of a publisher: by delivery tag, counted, and within its bounds.
 */
import type { Entry } from "./entry.ts"

/** Bounds what may be in flight. */
export interface Bounds {
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
}

/**
 * The messages in flight on one channel, by delivery tag; tags are dense, confirms nearly in order. A ring, and not an
 * array that is cut now and then, because V8 keeps alive what an old array refers to after the array itself is dropped.
 */
export class Window {
  /** As many as a power of 2. */
  #slots: Array<Entry | undefined> = Array.from({ length: 64 }, () => undefined)
  #firstTag = 1
  #nextTag = 1
  /**
   * Confirmed tags before the first tag that has a waiter: one confirm that never comes must not hold the ring open.
   */
  readonly #late = new Map<number, Entry>()
  #count = 0
  #bytes = 0
  /** Of those, the ones for which nobody waits any more. */
  #abandoned = 0
  #abandonedBytes = 0

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Tells if nobody waits for any of them. */
  get isAbandoned(): boolean {
    return this.#abandoned === this.#count
  }

  /** Tells if one more of this size may be written; a message that is larger than the bound goes alone. */
  hasRoom(bytes: number, bounds: Bounds): boolean {
    return this.#count < bounds.maxInFlight && (this.#count === 0 || this.#bytes + bytes <= bounds.maxInFlightBytes)
  }

  /** Tells if confirms that do not come take so much of the bounds that a fresh channel is better. */
  isClogged({ maxInFlight, maxInFlightBytes }: Bounds): boolean {
    return this.isAbandoned || this.#abandoned * 2 >= maxInFlight || this.#abandonedBytes * 2 >= maxInFlightBytes
  }

  add(entry: Entry): void {
    this.#count++
    this.#bytes += entry.bytes
    if (this.#nextTag - this.#firstTag === this.#slots.length) this.#grow()
    this.#slots[this.#nextTag++ & (this.#slots.length - 1)] = entry
  }

  #at(tag: number): Entry | undefined {
    return this.#slots[tag & (this.#slots.length - 1)]
  }

  /** Counts a message in flight that nobody waits for any more; it keeps its place until the broker has answered. */
  abandon(entry: Entry): void {
    this.#abandoned++
    this.#abandonedBytes += entry.bytes
  }

  /** Takes out the message of a tag that the broker has answered for. */
  take(tag: number): Entry | undefined {
    const entry = this.#remove(tag)
    if (entry === undefined) return undefined
    this.#count--
    this.#bytes -= entry.bytes
    if (entry.state === "Abandoned") {
      this.#abandoned--
      this.#abandonedBytes -= entry.bytes
    }
    return entry
  }

  #remove(tag: number): Entry | undefined {
    if (tag < this.#firstTag) {
      const late = this.#late.get(tag)
      this.#late.delete(tag)
      return late
    }
    if (tag >= this.#nextTag) return undefined
    const entry = this.#at(tag)
    this.#slots[tag & (this.#slots.length - 1)] = undefined
    this.#advance()
    return entry
  }

  /** Takes out every open tag up to this one, oldest first. */
  takeUpTo(tag: number, each: (entry: Entry) => void): void {
    for (const late of this.#late.keys()) if (late <= tag) each(this.take(late)!)
    while (this.#firstTag <= tag && this.#firstTag < this.#nextTag) each(this.take(this.#firstTag)!)
  }

  #advance(): void {
    while (this.#firstTag < this.#nextTag && this.#at(this.#firstTag) === undefined) this.#firstTag++
  }

  /** Lists the messages in flight, oldest first. */
  open(): ReadonlyArray<Entry> {
    const open: Array<Entry> = []
    this.find((entry) => {
      open.push(entry)
      return false
    })
    return open
  }

  /** Finds the oldest message that matches. */
  find(matches: (entry: Entry) => boolean): Entry | undefined {
    for (let tag = this.#firstTag; tag < this.#nextTag; tag++) {
      const entry = this.#at(tag)
      if (entry !== undefined && matches(entry)) return entry
    }
    return undefined
  }

  #grow(): void {
    for (let first = this.#at(this.#firstTag); first?.state === "Abandoned"; first = this.#at(this.#firstTag)) {
      this.#late.set(this.#firstTag, this.#remove(this.#firstTag)!)
    }
    if (this.#nextTag - this.#firstTag < this.#slots.length) return
    const slots = Array.from<unknown, Entry | undefined>({ length: 2 * this.#slots.length }, () => undefined)
    for (let tag = this.#firstTag; tag < this.#nextTag; tag++) slots[tag & (slots.length - 1)] = this.#at(tag)
    this.#slots = slots
  }
}
