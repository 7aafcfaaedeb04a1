/**
 * Deadlines of many messages with one fiber and one timer. All have the same length, so they end in the order in which
 * they began; messages that are settled by then are dropped from the front as others are added.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Entry } from "./publishQueue.ts"

/** Expires entries that are not settled in time. */
export class Deadlines {
  readonly #clock: Clock.Clock
  readonly #millis: number
  readonly #expire: (entry: Entry) => void
  readonly #some = Latch.makeUnsafe(false)
  #entries: Array<Entry> = []
  #head = 0

  constructor(clock: Clock.Clock, millis: number, expire: (entry: Entry) => void) {
    this.#clock = clock
    this.#millis = millis
    this.#expire = expire
  }

  add(entry: Entry): void {
    this.#dropSettled()
    this.#entries.push(entry)
    if (this.#entries.length - this.#head === 1) this.#some.openUnsafe()
  }

  #dropSettled(): void {
    while (this.#head < this.#entries.length && this.#entries[this.#head]!.state === "Settled") this.#head++
    if (this.#head === this.#entries.length || (this.#head > 1024 && this.#head * 2 > this.#entries.length)) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }

  /** Expires what is due, for ever. */
  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.suspend(() => {
      this.#dropSettled()
      const entry = this.#entries[this.#head]
      if (entry === undefined) {
        this.#some.closeUnsafe()
        return this.#some.await
      }
      const left = entry.submittedAt + this.#millis - this.#clock.currentTimeMillisUnsafe()
      if (left > 0) return Effect.sleep(left)
      this.#head++
      this.#expire(entry)
      return Effect.void
    })
  )
}
