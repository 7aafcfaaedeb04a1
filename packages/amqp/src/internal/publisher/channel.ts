/**
 * A queue of messages with the channel of its own that it is written to, and with the deadlines of what is in it.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { AmqpConnection } from "../../AmqpConnection.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { keep } from "../connection/keptChannel.ts"
import * as ScheduleDelays from "../scheduleDelays.ts"
import type { WakeLater } from "../wakeLater.ts"
import { Deadlines } from "./deadlines.ts"
import type { Entry } from "./entry.ts"
import type { PublisherMetrics } from "./metrics.ts"
import type { Suspects } from "./quarantine.ts"
import type { QueueOptions } from "./queue.ts"
import { PublishQueue } from "./queue.ts"

/** How a lane sends, and what it tells of. */
export interface LaneOptions extends QueueOptions {
  readonly connection: AmqpConnection
  readonly confirmMillis: number
  readonly retryNacked: Schedule.Schedule<unknown>
  readonly suspects: Suspects
  readonly metrics: PublisherMetrics
  readonly now: () => number
  readonly wakeLater: WakeLater
  /** Counts may have changed. */
  readonly onChanged: () => void
  /** Nobody waits for a message any more; after the driver's callback. */
  readonly onIdle: () => void
  /** There will be no other channel. */
  readonly onFailed: () => void
}

/** Messages on their way through one channel. */
export interface Lane {
  readonly queue: PublishQueue
  /** Keep a channel until the scope ends; returns when the first one is ready. */
  readonly open: Effect.Effect<void, AmqpError, Scope.Scope>
}

// How long a channel that is to be replaced waits for what is in flight on it, where that would be published again.
const recycleMillis = 1000

/** Make a lane, whose channel is still to be opened. */
export const make = Effect.fnUntraced(function*(
  options: LaneOptions
): Effect.fn.Return<Lane, never, Scope.Scope> {
  const { wakeLater, confirmMillis, metrics, now } = options
  // What would fail with the channel has its own deadline to wait for.
  const recycleWait = options.unconfirmed === "fail" ? confirmMillis : recycleMillis
  const clock = yield* Clock.Clock
  const runFork = yield* FiberSet.makeRuntime<never>()
  const nackSteps = new WeakMap<Entry, ScheduleDelays.NextDelay<unknown>>()
  let recycle = Deferred.makeUnsafe<void>()
  let drained = Deferred.makeUnsafe<void>()

  const rest = (entry: Entry): Effect.Effect<void> =>
    Effect.gen(function*() {
      let step = nackSteps.get(entry)
      if (step === undefined) {
        step = yield* ScheduleDelays.start(options.retryNacked)
        nackSteps.set(entry, step)
      }
      const delay = yield* step(clock.currentTimeMillisUnsafe(), undefined)
      if (delay === undefined) return queue.giveUp(entry)
      // Its deadline comes before that, and nothing is to hold it for longer.
      if (Duration.toMillis(delay) > entry.submittedAt + confirmMillis - now()) return
      yield* Effect.sleep(delay)
      queue.resume(entry)
    })

  const queue: PublishQueue = new PublishQueue(options, options.suspects, {
    onConfirmed() {
      metrics.confirmed++
    },
    onLatency: (millis) => metrics.latency(millis),
    onFailed() {
      metrics.failed++
    },
    onReturned() {
      metrics.returned++
    },
    onNacked() {
      metrics.nacked++
    },
    onRepublished() {
      metrics.republished++
    },
    onResting(entry) {
      wakeLater(() => runFork(rest(entry)))
    },
    onRecycle() {
      const present = recycle
      wakeLater(() => Deferred.doneUnsafe(present, Effect.void))
    },
    onDrained() {
      const present = drained
      wakeLater(() => Deferred.doneUnsafe(present, Effect.void))
    },
    onHeldBack(millis) {
      const due = now() + millis
      runFork(Effect.gen(function*() {
        // A timer may come a little early by this clock.
        for (let left = millis; left > 0; left = due - now()) yield* Effect.sleep(left)
        queue.pump()
      }))
    },
    onChanged: options.onChanged,
    onBusy: () => deadlines.begin(),
    onIdle() {
      wakeLater(() => {
        // Somebody who was woken before may have submitted a message meanwhile.
        if (!queue.isIdle) return
        deadlines.rest()
        options.onIdle()
      })
    }
  }, now)
  const deadlines = new Deadlines({
    oldest: () => queue.oldest,
    expireDue: () => queue.expire(confirmMillis),
    millis: confirmMillis,
    now
  })

  const channel = keep(options.connection, {
    role: "publish",
    confirm: true,
    events() {
      recycle = Deferred.makeUnsafe()
      drained = Deferred.makeUnsafe()
      return {
        onConfirm: (tag, multiple, ack) => queue.confirm(tag, multiple, ack),
        onReturn: (returned) => queue.returned(returned),
        onDrain: () => queue.pump(),
        onClose: (error) => queue.detach(error)
      }
    },
    onOpen: Effect.fnUntraced(function*(channel, session) {
      const stop = session.onUnblocked(() => queue.pump())
      yield* Effect.addFinalizer(() => Effect.sync(stop))
      yield* Deferred.await(recycle).pipe(
        Effect.andThen(Effect.timeoutOption(Deferred.await(drained), recycleWait)),
        Effect.andThen(session.bounded("closeChannel", channel.close)),
        Effect.ignore,
        Effect.forkScoped
      )
      if (channel.isOpen()) queue.attach(channel, session)
    }),
    wasReplaced: () => queue.isReplaced,
    onFailed(error) {
      queue.finish(error)
      options.onFailed()
    }
  })

  return { queue, open: Effect.andThen(Effect.forkScoped(deadlines.run), channel) }
})
