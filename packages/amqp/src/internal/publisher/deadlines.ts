/**
 * Confirm-or-timeout for all messages of a publisher with one timer at a time, in a fiber of its scope.
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
  /** Closed while the watch waits for a first message. */
  readonly #some = Latch.makeUnsafe(false)

  constructor(options: DeadlinesOptions) {
    this.#options = options
  }

  /** Hears that there is a message where there was none. */
  begin(): void {
    this.#some.openUnsafe()
  }

  /**
   * Watches, for ever. A timer that runs when its message is settled runs on, and the next one is for what is the oldest
   * by then: who sends one message at a time would otherwise stop and start a timer for each.
   */
  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.suspend(() => {
      const { expireDue, millis, now, oldest } = this.#options
      const entry = oldest()
      if (entry === undefined) {
        this.#some.closeUnsafe()
        return this.#some.await
      }
      const left = entry.submittedAt + millis - now()
      return left > 0 ? Effect.sleep(left) : Effect.sync(expireDue)
    })
  )
}
