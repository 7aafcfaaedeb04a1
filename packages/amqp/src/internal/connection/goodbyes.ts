/**
 * The goodbyes of one connection: those of its channels, which follow each other at the end of a scope, and its own.
 * Together they take one close deadline. A broker that is blocked reads none of them, and with a deadline for each a
 * program with many channels would take minutes to end.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Monotonic from "../monotonic.ts"

// A goodbye that begins this soon after another belongs to the same end.
const togetherMillis = 1000

/** Bounds the goodbyes of one connection. */
export class Goodbyes {
  readonly timeout: Duration.Duration
  readonly #clock: Clock.Clock
  #due = 0
  #lastOver = -Infinity

  constructor(clock: Clock.Clock, timeout: Duration.Duration) {
    this.#clock = clock
    this.timeout = timeout
  }

  /** Says a goodbye; `orElse` runs if it is not answered in the time that those before it have left. */
  say(goodbye: Effect.Effect<void>, orElse: () => void): Effect.Effect<void> {
    return Effect.suspend(() => {
      const now = Monotonic.millis(this.#clock)
      if (now - this.#lastOver > togetherMillis) this.#due = now + Duration.toMillis(this.timeout)
      // Others may begin before this one is over.
      this.#lastOver = Math.max(this.#lastOver, now)
      const left = this.#due - now
      return Effect.ensuring(
        left <= 0 ? Effect.sync(orElse) : Effect.timeoutOrElse(goodbye, {
          duration: left,
          orElse: () => Effect.sync(orElse)
        }),
        Effect.sync(() => {
          this.#lastOver = Monotonic.millis(this.#clock)
        })
      )
    })
  }
}
