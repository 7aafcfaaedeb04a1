/**
 * The goodbyes of one connection: those of its channels, which follow each other at the end of a scope, and its own.
 * Together they wait for one close deadline. A broker that is blocked reads none of them, and with a deadline for each a
 * program with many channels would take minutes to end.
 *
 * A broker that answers promptly is alive, so its answer begins the deadline anew: a program may close channels for as
 * long as it likes.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Monotonic from "../monotonic.ts"

// A goodbye that begins this soon after another belongs to the same end.
const togetherMillis = 1000

// An answer within this time tells that the broker reads what it is sent.
const promptMillis = 1000

/** Bounds the goodbyes of one connection. */
export class Goodbyes {
  readonly timeout: Duration.Duration
  readonly #clock: Clock.Clock
  #pending = 0
  /** Milliseconds that goodbyes have waited before {@link #since} without a prompt answer. */
  #spent = 0
  /** The time since which at least one goodbye has been waiting, or of the last prompt answer. */
  #since = 0
  #lastOver = -Infinity

  constructor(clock: Clock.Clock, timeout: Duration.Duration) {
    this.#clock = clock
    this.timeout = timeout
  }

  /** Says a goodbye; `orElse` runs if it is not answered in the time that those before it have left. */
  say(goodbye: Effect.Effect<void>, orElse: () => void): Effect.Effect<void> {
    return Effect.suspend(() => {
      const begun = Monotonic.millis(this.#clock)
      const left = this.#begin(begun)
      let isAnswered = false
      const answered = Effect.andThen(
        goodbye,
        Effect.sync(() => {
          isAnswered = true
        })
      )
      return Effect.ensuring(
        left <= 0 ? Effect.sync(orElse) : Effect.timeoutOrElse(answered, {
          duration: left,
          orElse: () => Effect.sync(orElse)
        }),
        Effect.sync(() => this.#end(begun, isAnswered))
      )
    })
  }

  /** Returns the milliseconds that a goodbye may take. */
  #begin(now: number): number {
    if (this.#pending++ === 0) {
      if (now - this.#lastOver > togetherMillis) this.#spent = 0
      this.#since = now
    }
    return Duration.toMillis(this.timeout) - this.#spent - (now - this.#since)
  }

  #end(begun: number, isAnswered: boolean): void {
    const now = Monotonic.millis(this.#clock)
    this.#lastOver = now
    this.#pending--
    if (isAnswered && now - begun <= promptMillis) {
      this.#spent = 0
      this.#since = now
    } else if (this.#pending === 0) this.#spent += now - this.#since
  }
}
