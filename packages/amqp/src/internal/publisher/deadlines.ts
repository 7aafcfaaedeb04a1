/**
 * Confirm-or-timeout for all messages of a publisher with one `Effect.timeout` at a time, in a fiber of its scope.
 *
 * All deadlines have the same length, so they come in the order in which the messages were submitted, and only the
 * oldest needs a timer. An `Effect.timeout` for each message would cost more than all the rest of a publish: two fibers
 * and a timer.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Entry } from "./entry.ts"

/** What has a deadline, and the time by the clock that stamped it. */
export interface DeadlinesOptions {
  /** The message that was submitted first of those that somebody waits for. */
  readonly oldest: () => Pick<Entry, "submittedAt"> | undefined
  /** Fails all messages whose deadline has come. */
  readonly expireDue: () => void
  readonly millis: number
  readonly now: () => number
}

/** Expires messages that are not settled in time. */
export class Deadlines {
  readonly #options: DeadlinesOptions
  /** Closed while nobody waits for a message. */
  readonly #some = Latch.makeUnsafe(false)
  /** Closed while somebody does. */
  readonly #none = Latch.makeUnsafe(true)

  constructor(options: DeadlinesOptions) {
    this.#options = options
  }

  /** Hears that there is a message where there was none. */
  begin(): void {
    this.#some.openUnsafe()
  }

  /** Hears that there may be no message any more. */
  rest(): void {
    if (this.#options.oldest() === undefined) this.#none.openUnsafe()
  }

  /** Watches, for ever. */
  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.suspend(() => {
      const { expireDue, millis, now, oldest } = this.#options
      const entry = oldest()
      if (entry === undefined) {
        this.#some.closeUnsafe()
        return this.#some.await
      }
      this.#none.closeUnsafe()
      return Effect.timeout(this.#none.await, entry.submittedAt + millis - now()).pipe(
        Effect.catchTag("TimeoutError", () => Effect.sync(expireDue))
      )
    })
  )
}
