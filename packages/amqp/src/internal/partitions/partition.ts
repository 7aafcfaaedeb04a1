/**
 * One partition at one instance: whether its messages come here, and its handler with its retries in place.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Delivery } from "../../AmqpDelivery.ts"
import { HandlerDecision } from "../consumer/decision.ts"
import { HandlerTimeout } from "../consumer/errors.ts"
import { GivenUp } from "../consumer/givenUp.ts"
import type { HandlerContext, Lifecycle } from "../consumer/worker.ts"
import * as ScheduleDelays from "../scheduleDelays.ts"
import type { Failure, Resolved } from "./options.ts"

/** A partition, for the worker of its queue. */
export interface Partition<R> {
  readonly handle: (delivery: Delivery) => Effect.Effect<unknown, GivenUp | HandlerDecision, R>
  readonly lifecycle: Lifecycle
  /** Another instance has it now; with the handlers that run here all the same. */
  readonly taken: (handlers: ReadonlyArray<Fiber.Fiber<unknown, unknown>>) => void
  /** Its messages come here. */
  readonly isActive: () => boolean
  /** Since when they come here, or no longer do. */
  readonly since: () => Date | undefined
}

// What a handler gives back comes again at once, to this handler: it is to have a moment.
const pause = Duration.seconds(1)

/** Makes a partition whose transitions run in the scope. */
export const make = Effect.fnUntraced(function*<E, R, R2>(
  partition: number,
  handler: (delivery: Delivery, partition: number) => Effect.Effect<unknown, E, R>,
  options: Resolved<E, R2>,
  onAssigned: () => void,
  context: HandlerContext<R2>
): Effect.fn.Return<Partition<R>, never, Scope.Scope> {
  const { drainTimeout, handlerTimeout, onRevoked, retry } = options
  const clock = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime<never>()
  // One transition at a time: a partition that comes back waits until it is gone.
  const turn = Semaphore.makeUnsafe(1)
  const leaving = Latch.makeUnsafe(false)
  let isActive = false
  let since: Date | undefined

  const become = (active: boolean): void => {
    isActive = active
    since = new Date(clock.currentTimeMillisUnsafe())
  }

  /** Runs what the application does at a transition; it cannot fail the partition. */
  const told = (
    what: string,
    transition: ((partition: number) => Effect.Effect<void, never, R2>) | undefined
  ): Effect.Effect<void> =>
    transition === undefined ? Effect.void : Effect.suspend(() => transition(partition)).pipe(
      Effect.catchDefect((defect) => Effect.logError(`AMQP partition: ${what} died`, defect)),
      Effect.provideContext(context as Context.Context<R2>),
      Effect.annotateLogs({ partition })
    )

  const assign = (delivery: Delivery): Effect.Effect<void> =>
    turn.withPermit(Effect.suspend(() =>
      isActive || delivery.isStale
        ? Effect.void
        : Effect.andThen(
          told("onAssigned", options.onAssigned),
          // Lost meanwhile, it was never here.
          Effect.sync(() => {
            if (delivery.isStale) return
            become(true)
            onAssigned()
          })
        )
    ))

  const revoke = told("onRevoked", onRevoked)

  const once = (delivery: Delivery): Effect.Effect<unknown, E | HandlerTimeout, R> => {
    const handling = Effect.scoped(handler(delivery, partition)) as Effect.Effect<unknown, E, R>
    return handlerTimeout === undefined ? handling : Effect.timeoutOrElse(handling, {
      duration: handlerTimeout,
      orElse: () =>
        Effect.fail(new HandlerTimeout({ queue: delivery.queue, millis: Duration.toMillis(handlerTimeout) }))
    })
  }

  // Once for each message: a suspend would cost more than the try does.
  const started = (delivery: Delivery): Effect.Effect<unknown, E | HandlerTimeout, R> => {
    try {
      return once(delivery)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  const giveBack = Effect.fail(new HandlerDecision({ fate: "giveBack" }))

  /** Waits for the next attempt. An instance that leaves does not: the next one has the message at once. */
  const rest = (delay: Duration.Duration): Effect.Effect<void, HandlerDecision> =>
    Effect.raceFirst(Effect.sleep(delay), Effect.andThen(leaving.await, giveBack))

  const again = Effect.fnUntraced(function*(
    delivery: Delivery,
    first: Cause.Cause<E | HandlerTimeout>
  ): Effect.fn.Return<unknown, GivenUp | HandlerDecision, R> {
    const next = yield* ScheduleDelays.start(retry)
    let cause = first
    for (let attempts = 1;;) {
      const found = Cause.findErrorOption(cause)
      const error = found._tag === "Some" ? found.value : undefined
      if (error instanceof HandlerDecision) {
        if (error.fate === "drop") return yield* error
        if (error.fate === "deadLetter") return yield* new GivenUp({ error, attempts })
        yield* rest(pause)
      } else {
        if (Cause.hasDies(cause)) {
          yield* Effect.logError("AMQP handler died", cause)
          return yield* new GivenUp({ error: Cause.squash(cause), attempts })
        }
        const failure = found._tag === "Some" ? found.value : new Error("the handler interrupted itself")
        const delay = yield* next(clock.currentTimeMillisUnsafe(), failure as Failure<E>)
        if (delay === undefined) return yield* new GivenUp({ error: failure, attempts })
        yield* Effect.logWarning("AMQP handler failed, and is tried again in place", cause).pipe(
          Effect.annotateLogs({ partition, attempt: attempts, nextDelayMillis: Duration.toMillis(delay) })
        )
        attempts++
        yield* rest(delay)
      }
      const exit = yield* Effect.exit(started(delivery))
      if (exit._tag === "Success") return exit.value
      cause = exit.cause
    }
  })

  const attempt = (delivery: Delivery): Effect.Effect<unknown, GivenUp | HandlerDecision, R> =>
    Effect.catchCause(started(delivery), (cause) => again(delivery, cause))

  const lose = (handlers: ReadonlyArray<Fiber.Fiber<unknown, unknown>>): void => {
    if (!isActive) return
    become(false)
    run(turn.withPermit(Effect.andThen(Effect.forEach(handlers, Fiber.await, { discard: true }), revoke)))
  }

  return {
    handle: (delivery) =>
      isActive ? attempt(delivery) : Effect.flatMap(assign(delivery), () => isActive ? attempt(delivery) : giveBack),
    isActive: () => isActive,
    since: () => since,
    taken: lose,
    lifecycle: {
      onHeld: () => leaving.openUnsafe(),
      onDetached: lose,
      beforeRelease: turn.withPermit(Effect.suspend(() => {
        if (!isActive) return Effect.void
        become(false)
        return revoke
      })).pipe(Effect.timeoutOption(drainTimeout), Effect.asVoid)
    }
  }
})
