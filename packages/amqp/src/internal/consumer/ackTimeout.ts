/**
 * Watches how long the broker has waited for acknowledgements. Past its timeout the broker closes the channel, and takes
 * back every message that is out on it.
 *
 * @see https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Monotonic from "../monotonic.ts"
import type { Dispatcher } from "./dispatcher.ts"
import type { Portion } from "./portions.ts"

/** What to watch, and what to do. */
export interface GuardOptions<T> {
  readonly dispatcher: Dispatcher<T>
  readonly ackTimeout: Duration.Duration
  readonly whenAckTimeout: "warn" | "interrupt"
  /** A message that is given back comes again; on a stream it does not. */
  readonly takesBack: boolean
  /** A handler has not ended in time: the broker may take back everything that is out at any moment. */
  readonly onNear: () => void
  /** Where the handler of a portion runs, so that a warning about it has its annotations. */
  readonly contextOf: (content: T) => Context.Context<never>
}

// When the guard acts, as a part of the broker's timeout: on a handler late, on what waits for one early enough for a job
// of half the timeout, which could not end in time if it began later.
const patience = 0.8
const waitingPatience = 0.5

/** Warns of handlers that are near the timeout or interrupts them, and gives back what waits for one, for ever. */
export const guard = Effect.fnUntraced(function*<T>(options: GuardOptions<T>): Effect.fn.Return<never> {
  const { dispatcher } = options
  const clock = yield* Clock.Clock
  const timeoutMillis = Duration.toMillis(options.ackTimeout)
  const limit = timeoutMillis * patience
  const waitingLimit = timeoutMillis * waitingPatience
  const seen = new WeakSet<Portion<T>>()
  /** Looks once; returns the milliseconds until the next look. A function of its own, to hold no message meanwhile. */
  const look = Effect.fnUntraced(function*(): Effect.fn.Return<number> {
    const now = Monotonic.millis(clock)
    let next = now + waitingLimit
    let waiting = 0
    let isNear = false
    const unsettled = Array.from(dispatcher.unsettled())
    const dueAt = (portion: Portion<T>) => portion.arrivedAt + (portion.state === "Waiting" ? waitingLimit : limit)
    const isDue = (portion: Portion<T>) => dueAt(portion) <= now
    // Everything that waits goes back together, or the order would be lost; and behind a handler that is interrupted it
    // would begin with hardly any time left, be interrupted as well, and so for ever.
    const givesBack = options.takesBack && unsettled.some((portion) =>
      isDue(portion) && !seen.has(portion) &&
      (portion.state === "Waiting" || options.whenAckTimeout === "interrupt")
    )
    for (const portion of unsettled) {
      if (portion.state !== "Waiting") continue
      if (givesBack) {
        waiting++
        dispatcher.interrupt(portion)
      } else if (!isDue(portion)) next = Math.min(next, dueAt(portion))
    }
    // What waits first, because an interrupted handler makes room for it.
    for (const portion of unsettled) {
      if (portion.state !== "Handling" && portion.state !== "Resolving") continue
      if (!isDue(portion)) {
        next = Math.min(next, dueAt(portion))
        continue
      }
      if (seen.has(portion)) continue
      seen.add(portion)
      isNear = true
      yield* Effect.logWarning("AMQP handler is near the broker's delivery acknowledgement timeout", {
        unacknowledgedMillis: now - portion.arrivedAt,
        timeoutMillis
      }).pipe(Effect.provideContext(options.contextOf(portion.content)))
      if (options.whenAckTimeout === "interrupt") dispatcher.interrupt(portion)
    }
    if (isNear) options.onNear()
    if (waiting > 0) {
      yield* Effect.logWarning(
        "AMQP messages waited for a handler for half of the broker's delivery acknowledgement timeout and are given " +
          "back: lower the prefetch",
        { waiting, timeoutMillis }
      )
    }
    return next - now
  })
  for (;;) yield* Effect.sleep(yield* look())
})
