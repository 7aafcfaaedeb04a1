/**
 * The two channels of a publisher as one: the main channel, and the quarantine's, which is opened when there is a message
 * for it. Messages are submitted here, expire here, and are counted here.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { AmqpError } from "../../AmqpError.ts"
import type { WaitingFor } from "../../PublishError.ts"
import { ConfirmTimeout } from "../../PublishError.ts"
import type { Session } from "../connection/session.ts"
import type { Encoded } from "../wire/encodeMessage.ts"
import type { ChannelOptions } from "./channel.ts"
import * as PublishChannel from "./channel.ts"
import { Deadlines } from "./deadlines.ts"
import type { Entry, Owner } from "./entry.ts"
import * as Entries from "./entry.ts"
import type { PublisherMetrics, QueueCounts } from "./metrics.ts"
import * as Outcomes from "./outcome.ts"
import { RefusedKinds, Turns } from "./quarantine.ts"
import { Roster } from "./roster.ts"

/** Takes messages; takes no more, and brings those that it has to their end; or has ended, for a cause if it failed. */
type Intake =
  | { readonly _tag: "Open" }
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Over"; readonly cause: AmqpError | undefined }

/** Where messages are sent on their way. */
export interface Channels {
  /** Takes a message; its outcome comes later, or within this call if it cannot be sent. */
  readonly submit: (encoded: Encoded, owner: Owner) => Entry
  /** Gives up a message whose owner waits no more. */
  readonly abandon: (entry: Entry) => void
  /** Gives up the messages of some owners. */
  readonly abandonAll: (isOwned: (owner: Owner) => boolean) => void
  readonly counts: () => QueueCounts
  /** The session that messages are written on now. */
  readonly session: () => Session | undefined
  /** Tells if one more message may wait without another losing its place for it. */
  readonly hasRoom: () => boolean
  /** Opens the main channel; returns when it is ready. */
  readonly open: Effect.Effect<void, AmqpError, Scope.Scope>
  /** Takes no more messages, and waits until nobody waits for one. */
  readonly close: Effect.Effect<void>
  /** Fails what is left. */
  readonly end: Effect.Effect<void>
}

// The pause before the quarantine's channel is opened again doubles, from the first to the last of these.
const firstPauseMillis = 100
const lastPauseMillis = 5000

/** Makes the channels of a publisher. */
export const make = Effect.fnUntraced(function*(
  options: ChannelOptions,
  metrics: PublisherMetrics
): Effect.fn.Return<Channels, never, Scope.Scope> {
  const { confirmMillis, now, wakeLater } = options
  const runFork = yield* FiberSet.makeRuntime<never>()
  const idle = Latch.makeUnsafe(true)
  let intake: Intake = { _tag: "Open" }

  const roster: Roster = new Roster(metrics, {
    now,
    onBusy: () => deadlines.begin(),
    onIdle() {
      wakeLater(() => {
        // Somebody who was woken before may have submitted a message meanwhile.
        if (!roster.isIdle) return
        idle.openUnsafe()
      })
    }
  })
  const release = (entry: Entry): void => {
    if (entry.state === "Settled" || entry.state === "Abandoned") return
    entry.holder.release(entry)
    roster.remove(entry)
  }
  const pump = (): void => {
    main.queue.pump()
    quarantine.queue.pump()
  }
  // The quarantine's channel may have none yet, where the main one has a session.
  const waitingForOf = (entry: Entry): WaitingFor => {
    const waitingFor = entry.holder.waitingFor(entry)
    return waitingFor === "connection" && main.queue.session !== undefined ? "channel" : waitingFor
  }
  const deadlines = new Deadlines({
    oldest: () => roster.oldest,
    expireDue() {
      const due = now() - confirmMillis
      for (let entry = roster.oldest; entry !== undefined && entry.submittedAt <= due; entry = roster.oldest) {
        const waitingFor = waitingForOf(entry)
        entry.holder.release(entry)
        roster.settle(
          entry,
          new ConfirmTimeout({ published: Outcomes.published(entry), millis: confirmMillis, waitingFor })
        )
      }
      // What waits behind them may be due in the same moment, and was not to be written then.
      pump()
    },
    millis: confirmMillis,
    now
  })
  yield* Effect.forkScoped(deadlines.run)

  const finish = (cause: AmqpError | undefined): void => {
    if (intake._tag === "Over") return
    intake = { _tag: "Over", cause }
    for (const entry of roster.all()) {
      entry.holder.release(entry)
      roster.settle(entry, Outcomes.over(entry, cause))
    }
    pump()
  }

  const refused = new RefusedKinds()
  const main: PublishChannel.PublishChannel = yield* PublishChannel.make(options, roster, refused, {
    _tag: "Main",
    divert: (entry) => {
      openQuarantine()
      quarantine.queue.adopt(entry)
    }
  })
  const quarantine = yield* PublishChannel.make(options, roster, refused, {
    _tag: "Quarantine",
    turns: new Turns()
  })

  const keepQuarantine = Effect.gen(function*() {
    for (let pause = firstPauseMillis; intake._tag !== "Over"; pause = Math.min(pause * 2, lastPauseMillis)) {
      const failed = Deferred.makeUnsafe<void>()
      const opened = quarantine.open(() => wakeLater(() => Deferred.doneUnsafe(failed, Effect.void)))
      yield* opened.pipe(
        Effect.andThen(Effect.sync(() => {
          pause = firstPauseMillis
        })),
        Effect.andThen(Deferred.await(failed)),
        Effect.scoped,
        Effect.ignore
      )
      yield* Effect.sleep(pause)
    }
  })
  let isQuarantineWanted = false
  const openQuarantine = (): void => {
    if (isQuarantineWanted) return
    isQuarantineWanted = true
    wakeLater(() => runFork(keepQuarantine))
  }

  const submit: Channels["submit"] = (encoded, owner) => {
    const belongsThere = !refused.isEmpty && refused.has(encoded)
    const { queue } = belongsThere ? quarantine : main
    const entry = Entries.make(encoded, owner, queue, now())
    if (intake._tag !== "Open") {
      roster.settle(entry, Outcomes.over(entry, intake._tag === "Over" ? intake.cause : undefined))
      roster.tell()
      return entry
    }
    roster.add(entry)
    if (belongsThere) openQuarantine()
    queue.submit(entry)
    return entry
  }

  return {
    submit,
    abandon(entry) {
      release(entry)
      entry.holder.pump()
    },
    abandonAll(isOwned) {
      for (const entry of roster.all()) if (isOwned(entry.owner)) release(entry)
      pump()
    },
    hasRoom: () =>
      options.whenFull === "wait" ||
      (main.queue.waiting < options.maxWaiting && quarantine.queue.waiting < options.maxWaiting),
    session: () => main.queue.session,
    counts() {
      const [one, other] = [main.queue.counts(), quarantine.queue.counts()]
      return {
        waiting: one.waiting + other.waiting,
        inFlight: one.inFlight + other.inFlight,
        inFlightBytes: one.inFlightBytes + other.inFlightBytes
      }
    },
    open: main.open(finish),
    close: Effect.suspend(() => {
      if (intake._tag === "Open") intake = { _tag: "Closed" }
      if (roster.isIdle) return Effect.void
      idle.closeUnsafe()
      return idle.await
    }),
    end: Effect.sync(() => finish(undefined))
  }
})
