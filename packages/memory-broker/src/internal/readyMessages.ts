/**
 * The messages of a queue that wait for a consumer, in the order in which they will be delivered.
 */
import type { Message } from "./message.ts"

/** A message in one queue. */
export interface Entry {
  readonly message: Message
  /** The place in the queue, to which a message that is requeued goes back. */
  readonly position: number
  readonly priority: number
  readonly size: number
  /** Milliseconds on the Clock. Undefined for a message that does not expire. */
  readonly expiresAt: number | undefined
  redelivered: boolean
  /** `x-delivery-count`: deliveries that the broker counts as failed. */
  failed: number
  /** `x-acquired-count`: deliveries that came back, failed or not. */
  acquired: number
}

/** A FIFO over an array, with a head that moves, so that taking does not shift the rest. */
class Run {
  #entries: Array<Entry> = []
  #head = 0

  get length(): number {
    return this.#entries.length - this.#head
  }

  peek(): Entry | undefined {
    return this.#entries[this.#head]
  }

  push(entry: Entry): void {
    this.#entries.push(entry)
  }

  shift(): Entry | undefined {
    const entry = this.#entries[this.#head]
    if (entry === undefined) return undefined
    this.#head++
    if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
    return entry
  }

  /** Puts entries, in order of position, back among the others. */
  insert(back: ReadonlyArray<Entry>): void {
    const first = this.peek()
    if (back.length <= this.#head && (first === undefined || back[back.length - 1]!.position < first.position)) {
      this.#head -= back.length
      for (let i = 0; i < back.length; i++) this.#entries[this.#head + i] = back[i]!
      return
    }
    const rest = this.#entries.slice(this.#head)
    const merged: Array<Entry> = []
    let i = 0
    for (const entry of back) {
      while (i < rest.length && rest[i]!.position < entry.position) merged.push(rest[i++]!)
      merged.push(entry)
    }
    this.#entries = merged.concat(rest.slice(i))
    this.#head = 0
  }

  *[Symbol.iterator](): Iterator<Entry> {
    for (let i = this.#head; i < this.#entries.length; i++) yield this.#entries[i]!
  }
}

const byPosition = (a: Entry, b: Entry): number => a.position - b.position

/** The order of requeued messages: a classic queue keeps their places, a quorum queue hands them out first. */
export type RequeueOrder = "byPosition" | "returnsFirst"

/** How priorities share a queue: strictly, or two of the upper level to one of the lower. */
export type PriorityScheme = "strict" | "twoToOne"

/** Messages of the upper level that go before one of the lower. */
const upperShare = 2

export class ReadyMessages {
  readonly #order: RequeueOrder
  readonly #scheme: PriorityScheme
  /** The head of every level expires, and not only the first of all. */
  readonly #expiresByLevel: boolean
  /** Messages of the upper level that were taken since one of the lower could. */
  #share = 0
  /** The highest priority first. */
  readonly #levels: ReadonlyArray<{ readonly priority: number; readonly run: Run }>
  #returned = new Run()
  #length = 0
  #bytes = 0

  /** A queue with priorities from 0 to `priorities`. */
  constructor(priorities: number, order: RequeueOrder, scheme: PriorityScheme = "strict") {
    this.#order = order
    this.#scheme = scheme
    this.#expiresByLevel = order === "returnsFirst" && scheme === "strict" && priorities > 0
    this.#levels = Array.from({ length: priorities + 1 }, (_, i) => ({ priority: priorities - i, run: new Run() }))
  }

  get length(): number {
    return this.#length
  }

  get bytes(): number {
    return this.#bytes
  }

  #firstRun(): Run | undefined {
    if (this.#length === 0) return undefined
    if (this.#returned.length > 0) return this.#returned
    if (this.#scheme === "twoToOne" && this.#share === upperShare) {
      const { run } = this.#levels[this.#levels.length - 1]!
      if (run.length > 0) return run
    }
    for (const level of this.#levels) if (level.run.length > 0) return level.run
    return undefined
  }

  #level(entry: Entry): Run {
    const levels = this.#levels
    return levels[levels.length - 1 - entry.priority]!.run
  }

  peek(): Entry | undefined {
    return this.#firstRun()?.peek()
  }

  push(entry: Entry): void {
    this.#level(entry).push(entry)
    this.#length++
    this.#bytes += entry.size
  }

  shift(): Entry | undefined {
    const run = this.#firstRun()
    const entry = run?.shift()
    if (this.#scheme === "twoToOne" && run !== undefined && run !== this.#returned) {
      this.#share = this.#share === upperShare ? 0 : this.#share + 1
    }
    if (entry !== undefined) {
      this.#length--
      this.#bytes -= entry.size
    }
    return entry
  }

  requeue(entries: ReadonlyArray<Entry>): void {
    for (const entry of entries) {
      this.#length++
      this.#bytes += entry.size
    }
    if (this.#order === "returnsFirst") {
      for (const entry of entries) this.#returned.push(entry)
      return
    }
    const sorted = [...entries].sort(byPosition)
    for (const level of this.#levels) {
      const own = sorted.filter((entry) => entry.priority === level.priority)
      if (own.length > 0) level.run.insert(own)
    }
  }

  /**
   * Takes the expired messages off the head, or off the head of every level. An expired message behind one that lives
   * stays where it is.
   */
  shiftExpired(now: number): Array<Entry> {
    const expired: Array<Entry> = []
    for (let head = this.peek(); head?.expiresAt !== undefined && head.expiresAt <= now; head = this.peek()) {
      expired.push(head)
      this.shift()
    }
    if (!this.#expiresByLevel || this.#length === 0) return expired
    for (const { run } of this.#levels) {
      for (let head = run.peek(); head?.expiresAt !== undefined && head.expiresAt <= now; head = run.peek()) {
        expired.push(head)
        run.shift()
        this.#length--
        this.#bytes -= head.size
      }
    }
    return expired
  }

  /** When the next message may be taken by {@link shiftExpired}. */
  get nextExpiry(): number | undefined {
    const first = this.peek()?.expiresAt
    if (!this.#expiresByLevel || this.#length === 0) return first
    let next = first ?? Number.POSITIVE_INFINITY
    for (const { run } of this.#levels) next = Math.min(next, run.peek()?.expiresAt ?? next)
    return next === Number.POSITIVE_INFINITY ? undefined : next
  }

  clear(): Array<Entry> {
    const all = [...this]
    this.#returned = new Run()
    for (const level of this.#levels) while (level.run.shift() !== undefined);
    this.#length = 0
    this.#bytes = 0
    return all
  }

  *[Symbol.iterator](): Iterator<Entry> {
    yield* this.#returned
    if (this.#scheme === "strict") {
      for (const level of this.#levels) yield* level.run
      return
    }
    const [upper = [], lower = []] = this.#levels.map(({ run }) => [...run])
    for (let share = this.#share; upper.length > 0 || lower.length > 0; share = share === upperShare ? 0 : share + 1) {
      const takesLower = upper.length === 0 || (share === upperShare && lower.length > 0)
      yield (takesLower ? lower.shift() : upper.shift())!
    }
  }
}
