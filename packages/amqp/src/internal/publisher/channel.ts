/**
 * The channel of a queue: kept open, replaced when the queue asks for it, and the pauses of what the broker refused.
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
import type { Entry } from "./entry.ts"
import type { RefusedKinds } from "./quarantine.ts"
import type { Lane, QueueOptions } from "./queue.ts"
import { PublishQueue } from "./queue.ts"
import type { Roster } from "./roster.ts"

/** How a channel sends. */
export interface ChannelOptions extends QueueOptions {
  readonly connection: AmqpConnection
  readonly confirmMillis: number
  readonly retryNacked: Schedule.Schedule<unknown>
  readonly now: () => number
  readonly wakeLater: WakeLater
}

/** Messages on their way through one channel. */
export interface PublishChannel {
  readonly queue: PublishQueue
  /** Keeps a channel until the scope ends, and returns when the first one is ready; `onFailed`: there is no other. */
  readonly open: (onFailed: (error: AmqpError) => void) => Effect.Effect<void, AmqpError, Scope.Scope>
}

// How long a channel that is to be replaced waits for what is in flight on it, where that would be published again.
const drainMillis = 1000

/** Makes a queue with a channel that is still to be opened. */
export const make = Effect.fnUntraced(function*(
  options: ChannelOptions,
  roster: Roster,
  refused: RefusedKinds,
  lane: Lane
): Effect.fn.Return<PublishChannel, never, Scope.Scope> {
  const { confirmMillis, now, wakeLater } = options
  // What would fail with the channel has its own deadline to wait for.
  const drainWait = options.unconfirmed === "fail" ? confirmMillis : drainMillis
  const clock = yield* Clock.Clock
  const runFork = yield* FiberSet.makeRuntime<never>()
  const nackSteps = new WeakMap<Entry, ScheduleDelays.NextDelay<unknown>>()

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

  const pumpAt = (due: number): Effect.Effect<void> =>
    Effect.gen(function*() {
      // A timer may come a little early by this clock.
      for (let left = due - now(); left > 0; left = due - now()) yield* Effect.sleep(left)
      queue.pump()
    })

  const queue: PublishQueue = new PublishQueue(options, roster, refused, lane, {
    onResting(entry) {
      wakeLater(() => runFork(rest(entry)))
    },
    onHeldBack(until) {
      runFork(pumpAt(until))
    },
    onTurn() {
      wakeLater(() => queue.pump())
    }
  }, now)

  const open: PublishChannel["open"] = (onFailed) =>
    keep(options.connection, {
      role: "publish",
      confirm: true,
      events: () => ({
        onConfirm: (tag, multiple, ack) => queue.confirm(tag, multiple, ack),
        onReturn: (returned) => queue.returned(returned),
        onDrain: () => queue.pump(),
        onClose: (error) => queue.detach(error)
      }),
      onOpen: Effect.fnUntraced(function*(channel, session) {
        const draining = Deferred.makeUnsafe<void>()
        const drained = Deferred.makeUnsafe<void>()
        const stop = session.onUnblocked(() => queue.pump())
        yield* Effect.addFinalizer(() => Effect.sync(stop))
        yield* Deferred.await(draining).pipe(
          Effect.andThen(Effect.timeoutOption(Deferred.await(drained), drainWait)),
          Effect.andThen(session.bounded("closeChannel", channel.close)),
          Effect.ignore,
          Effect.forkScoped
        )
        if (!channel.isOpen()) return
        queue.attach({
          channel,
          session,
          onDraining: () => wakeLater(() => Deferred.doneUnsafe(draining, Effect.void)),
          onDrained: () => wakeLater(() => Deferred.doneUnsafe(drained, Effect.void))
        })
      }),
      wasReplaced: () => queue.isReplaced,
      onFailed
    })

  return { queue, open }
})
