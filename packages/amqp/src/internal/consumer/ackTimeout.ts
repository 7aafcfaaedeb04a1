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
  /** Where the handler of a portion runs, so that a warning about it has its annotations. */
  readonly contextOf: (content: T) => Context.Context<never>
}

// When the guard acts, as a part of the broker's timeout.
const patience = 0.8

/** Warns of portions that are near the timeout, or gives them back, for ever. */
export const guard = Effect.fnUntraced(function*<T>(options: GuardOptions<T>): Effect.fn.Return<never> {
  const { dispatcher } = options
  const clock = yield* Clock.Clock
  const timeoutMillis = Duration.toMillis(options.ackTimeout)
  const limit = timeoutMillis * patience
  const seen = new WeakSet<Portion<T>>()
  /** Looks once; returns the milliseconds until the next look. A function of its own, to hold no message meanwhile. */
  const look = Effect.fnUntraced(function*(): Effect.fn.Return<number> {
    const now = Monotonic.millis(clock)
    let next = now + limit
    let waiting = 0
    // What has not begun first, because an interrupted handler makes room for it.
    const unsettled = Array.from(dispatcher.unsettled()).toReversed()
    const interrupts = options.whenAckTimeout === "interrupt" &&
      unsettled.some((portion) => portion.state !== "Waiting" && portion.arrivedAt + limit <= now && !seen.has(portion))
    for (const portion of unsettled) {
      // What waits behind a handler that is interrupted goes back too, or it would begin with hardly any time left, be
      // interrupted as well, and so for ever.
      const due = interrupts && portion.state === "Waiting" ? now : portion.arrivedAt + limit
      if (due > now) {
        next = Math.min(next, due)
        continue
      }
      if (seen.has(portion)) continue
      seen.add(portion)
      if (portion.state === "Waiting") waiting++
      else {
        yield* Effect.logWarning("AMQP handler is near the broker's delivery acknowledgement timeout", {
          unacknowledgedMillis: now - portion.arrivedAt,
          timeoutMillis
        }).pipe(Effect.provideContext(options.contextOf(portion.content)))
      }
      if (options.whenAckTimeout === "interrupt") dispatcher.interrupt(portion)
    }
    if (waiting > 0) {
      yield* Effect.logWarning(
        "AMQP messages wait for a handler near the broker's delivery acknowledgement timeout: lower the prefetch",
        { waiting, timeoutMillis }
      )
    }
    return next - now
  })
  for (;;) yield* Effect.sleep(yield* look())
})
