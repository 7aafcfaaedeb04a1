/**
 * Confirm-or-timeout for all messages of a publisher with one `Effect.timeout` at a time, in a fiber of its scope.
 *
 * All deadlines have the same length, so they come in the order in which they began, and only the oldest message needs a
 * timer. An `Effect.timeout` for each message would cost more than all the rest of a publish: two fibers and a timer.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Entry } from "./publishQueue.ts"

// How many messages are kept before it is worth to look for those that are settled.
const smallest = 8

/** Expires messages that are not settled in time. */
export class Deadlines {
  readonly #clock: Clock.Clock
  readonly #millis: number
  readonly #expire: (entry: Entry) => void
  /** Closed while nothing is on its way. */
  readonly #some = Latch.makeUnsafe(false)
  /** Closed while something is on its way. */
  readonly #none = Latch.makeUnsafe(true)
  /** In the order of their deadlines; some are settled already. */
  #entries: Array<Entry | undefined> = []
  #head = 0
  #compactAt = smallest

  constructor(clock: Clock.Clock, millis: number, expire: (entry: Entry) => void) {
    this.#clock = clock
    this.#millis = millis
    this.#expire = expire
  }

  /** How many messages it holds, settled ones included; at most 8 or twice as many as were on their way. */
  get size(): number {
    return this.#entries.length - this.#head
  }

  /** Expire this message unless it is settled by its deadline. */
  add(entry: Entry): void {
    this.#oldest()
    if (this.#entries.length >= this.#compactAt) {
      // One message that takes long would otherwise hold on to all that came after it.
      this.#entries = this.#entries.slice(this.#head).filter(isOpen)
      this.#head = 0
      this.#compactAt = Math.max(smallest, 2 * this.#entries.length)
    }
    this.#entries.push(entry)
    this.#some.openUnsafe()
  }

  /** Nothing is on its way, so there is nothing to wait for. */
  rest(): void {
    if (this.#oldest() === undefined) this.#none.openUnsafe()
  }

  #oldest(): Entry | undefined {
    while (this.#head < this.#entries.length && !isOpen(this.#entries[this.#head])) this.#drop()
    return this.#entries[this.#head]
  }

  /** Let go of the first one at once: its body may be large. */
  #drop(): void {
    this.#entries[this.#head++] = undefined
    if (this.#head === this.#entries.length) {
      this.#entries.length = 0
      this.#head = 0
    }
  }

  #expireDue(): void {
    const now = this.#clock.currentTimeMillisUnsafe()
    for (let entry = this.#oldest(); entry !== undefined && this.#leftOf(entry, now) <= 0; entry = this.#oldest()) {
      this.#drop()
      this.#expire(entry)
    }
  }

  #leftOf(entry: Entry, now: number): number {
    return entry.submittedAt + this.#millis - now
  }

  /** Watches, for ever. */
  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.suspend(() => {
      const entry = this.#oldest()
      if (entry === undefined) {
        this.#some.closeUnsafe()
        return this.#some.await
      }
      this.#none.closeUnsafe()
      return Effect.timeout(this.#none.await, this.#leftOf(entry, this.#clock.currentTimeMillisUnsafe())).pipe(
        Effect.catchTag("TimeoutError", () => Effect.sync(() => this.#expireDue()))
      )
    })
  )
}

const isOpen = (entry: Entry | undefined): boolean =>
  entry !== undefined && entry.state !== "Settled" && !entry.abandoned
