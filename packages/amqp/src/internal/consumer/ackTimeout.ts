/**
 * Keeps an eye on how long the broker has waited for acknowledgements: when it loses its patience, it closes the
 * channel and takes back what everybody else on it was doing.
 *
 * @see https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Monotonic from "../monotonic.ts"
import type { Dispatcher, Work } from "./dispatcher.ts"

/** What to guard, and how. */
export interface GuardOptions<T> {
  readonly dispatcher: Dispatcher<T>
  readonly ackTimeout: Duration.Duration
  readonly whenAckTimeout: "warn" | "interrupt"
  /** Where a handler runs, so that a warning about it has its annotations. */
  readonly contextOf: (portion: T) => Context.Context<never>
}

// When the guard acts, as a part of the broker's timeout.
const patience = 0.8

/** Warn of what is near the timeout, or give it back, for ever. */
export const guard = Effect.fnUntraced(function*<T>(options: GuardOptions<T>): Effect.fn.Return<never> {
  const { dispatcher } = options
  const clock = yield* Clock.Clock
  const timeoutMillis = Duration.toMillis(options.ackTimeout)
  const limit = timeoutMillis * patience
  const seen = new WeakSet<Work<T>>()
  /** Look once; returns for how many milliseconds there is nothing more to see. By itself, to keep no message meanwhile. */
  const look = Effect.fnUntraced(function*(): Effect.fn.Return<number> {
    const now = Monotonic.millis(clock)
    let next = now + limit
    let waiting = 0
    // What has not begun first, because an interrupted handler makes room for it.
    const unsettled = Array.from(dispatcher.unsettled()).toReversed()
    const interrupts = options.whenAckTimeout === "interrupt" &&
      unsettled.some((work) => work.state !== "Waiting" && work.arrivedAt + limit <= now && !seen.has(work))
    for (const work of unsettled) {
      // What waits behind a handler that is interrupted goes back too, or it would begin with hardly any time left, be
      // interrupted as well, and so for ever.
      const due = interrupts && work.state === "Waiting" ? now : work.arrivedAt + limit
      if (due > now) {
        next = Math.min(next, due)
        continue
      }
      if (seen.has(work)) continue
      seen.add(work)
      if (work.state === "Waiting") waiting++
      else {
        yield* Effect.logWarning("AMQP handler is near the broker's delivery acknowledgement timeout", {
          unacknowledgedMillis: now - work.arrivedAt,
          timeoutMillis
        }).pipe(Effect.provideContext(options.contextOf(work.portion)))
      }
      if (options.whenAckTimeout === "interrupt") dispatcher.interrupt(work)
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
