/**
 * The state machine of one channel of a publisher: which messages wait to be written to it, which are in flight on it,
 * and what becomes of them when the broker answers or the channel ends.
 *
 * A message is `Waiting` (in `#waiting`), `InFlight` or `Abandoned` (in the window of the present channel), `Resting`
 * (nacked, until its pause is over), or `Settled`, which only the roster makes it. Plain synchronous code: it runs inside
 * driver events and once or twice per message.
 */
import type { DriverChannel, DriverReturn } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import type { WaitingFor } from "../../PublishError.ts"
import * as PublishError from "../../PublishError.ts"
import { isHangUp } from "../connection/refusals.ts"
import type { Session } from "../connection/session.ts"
import type { Culprit } from "./culprit.ts"
import * as Culprits from "./culprit.ts"
import type { Entry, Holder } from "./entry.ts"
import type { QueueCounts } from "./metrics.ts"
import * as Outcomes from "./outcome.ts"
import type { RefusedKinds, Turns } from "./quarantine.ts"
import { absolveLikes, isSuspect, ofLikes, suspect, wasTriedOften } from "./quarantine.ts"
import * as Returns from "./returns.ts"
import type { Roster } from "./roster.ts"
import { Waiting } from "./waiting.ts"
import type { Bounds } from "./window.ts"
import { Window } from "./window.ts"

/** The bounds of a queue, and what it may do by itself. */
export interface QueueOptions extends Bounds {
  readonly maxWaiting: number
  readonly whenFull: "wait" | "fail" | "dropOldest"
  readonly unconfirmed: "republish" | "fail"
}

/** What takes time, and is done by others for the queue. */
export interface QueueEvents {
  /** A nacked message rests; call `resume` or `giveUp` with it later. */
  readonly onResting: (entry: Entry) => void
  /** Waiting messages are held back; call `pump` at this time. */
  readonly onHeldBack: (until: number) => void
  /** The turn of another publisher's message is over; call `pump` when the driver's callback is. */
  readonly onTurn: () => void
}

/** Whose messages a queue has: any, of which it diverts those that belong into quarantine; or those in quarantine. */
export type Lane =
  | { readonly _tag: "Main"; readonly divert: (entry: Entry) => void }
  | { readonly _tag: "Quarantine"; readonly turns: Turns }

/** A channel that messages are written to, and how its owner hears that it is to be replaced. */
export interface Attachment {
  readonly channel: DriverChannel
  readonly session: Session
  /** A message must go to another channel than this one: nothing more is written to this one, so close it soon. */
  readonly onDraining: () => void
  /** Nobody waits any more for what is in flight on a channel that is to be closed. */
  readonly onDrained: () => void
}

// A channel whose first message to a quorum queue falls into the choice of a leader is nacked for as long as it lives. A
// full queue nacks as well, and a new channel is no use to it.
const renewalMillis = 1000

interface On extends Attachment {
  readonly _tag: "On"
  readonly window: Window
  readonly since: number
  isDraining: boolean
}

interface Off {
  readonly _tag: "Off"
  /** The last channel was closed on purpose, or because of a message that is known. */
  readonly wasReplaced: boolean
  /** The session of the last channel. */
  readonly session: Session | undefined
}

/** Tells if a message was alone on the session when the broker closed it, whichever publisher it is of. */
const isTried = (error: AmqpError, session: Session): boolean => isHangUp(error) && session.trial.only !== undefined

/** All messages of one channel of a publisher. */
export class PublishQueue implements Holder {
  readonly #options: QueueOptions
  readonly #roster: Roster
  readonly #refused: RefusedKinds
  readonly #lane: Lane
  readonly #events: QueueEvents
  readonly #now: () => number
  readonly #waiting = new Waiting()
  readonly #resting = new Set<Entry>()
  #at: On | Off = { _tag: "Off", wasReplaced: false, session: undefined }
  /** When `pump` was asked for last. */
  #heldUntil = 0

  constructor(
    options: QueueOptions,
    roster: Roster,
    refused: RefusedKinds,
    lane: Lane,
    events: QueueEvents,
    now: () => number
  ) {
    this.#options = options
    this.#roster = roster
    this.#refused = refused
    this.#lane = lane
    this.#events = events
    this.#now = now
  }

  /** How many messages wait to be written. */
  get waiting(): number {
    return this.#waiting.count + this.#resting.size
  }

  counts(): QueueCounts {
    const at = this.#at
    return {
      waiting: this.waiting,
      inFlight: at._tag === "On" ? at.window.count : 0,
      inFlightBytes: at._tag === "On" ? at.window.bytes : 0
    }
  }

  /** Tells if nothing is wrong with the broker: the channel ended, or is to end, on purpose or because of a message. */
  get isReplaced(): boolean {
    return this.#at._tag === "On" ? this.#at.isDraining : this.#at.wasReplaced
  }

  /** Takes a message that is submitted now, to be written in its turn. */
  submit(entry: Entry): void {
    this.#waiting.push(entry)
    this.#pump(entry.submittedAt)
    if (entry.state === "Waiting" && entry.holder === this && this.waiting > this.#options.maxWaiting) {
      this.#overflow(entry)
      this.#pump(entry.submittedAt)
    }
    this.#tell()
  }

  /** Takes a message of another queue. */
  adopt(entry: Entry): void {
    entry.holder = this
    this.#waiting.push(entry)
    this.pump()
  }

  #overflow(entry: Entry): void {
    const { whenFull } = this.#options
    if (whenFull === "wait") return
    const waiting = this.waiting - 1
    const victim = whenFull === "fail" ? entry : this.#waiting.first()!
    this.release(victim)
    this.#roster.settle(victim, new PublishError.Full({ published: Outcomes.published(victim), waiting }))
  }

  release(entry: Entry): void {
    if (entry.state === "InFlight") {
      entry.state = "Abandoned"
      if (this.#at._tag === "On") this.#at.window.abandon(entry)
    } else {
      entry.state = "Settled"
      if (!this.#resting.delete(entry)) this.#waiting.withdrawn()
    }
  }

  waitingFor(entry: Entry): WaitingFor {
    const at = this.#at
    if (at._tag === "Off") return this.session === undefined ? "connection" : "channel"
    const { channel, session } = at
    if (entry.state === "Resting") return "retry"
    if (session.blocked !== undefined) return "unblocked"
    if (entry.state === "InFlight") return "confirm"
    if (at.isDraining) return "channel"
    if (this.#lane._tag === "Quarantine" && this.#mustBeAlone(entry)) return "quarantine"
    return channel.isWritable() ? "window" : "socket"
  }

  /** The session of the present or the last channel, while it lives. */
  get session(): Session | undefined {
    const { session } = this.#at
    return session?.isAlive === true ? session : undefined
  }

  /** Writes to a channel that is ready from now on. */
  attach(attachment: Attachment): void {
    this.#at = { _tag: "On", ...attachment, window: new Window(), since: this.#now(), isDraining: false }
    this.pump()
  }

  /** Gives up the channel, which is gone, and with it the confirms of what was in flight. */
  detach(error: AmqpError): void {
    const at = this.#at
    if (at._tag === "Off") {
      this.#at = { ...at, wasReplaced: false }
      return
    }
    const open: Array<Entry> = []
    for (const entry of at.window.open()) {
      // The broker had handled it: it cannot be what the channel was closed for.
      if (entry.returned === undefined || entry.state === "Abandoned") open.push(entry)
      else this.#roster.settle(entry, Outcomes.unroutable(entry, entry.returned))
    }
    if (open.length > 0 && isHangUp(error)) at.session.isBlamedOnUse = true
    const culprit = this.#culprit(error, open, at.session)
    this.#at = { _tag: "Off", wasReplaced: at.isDraining || culprit !== undefined, session: at.session }
    this.#endTurns(at.session, open, error)
    if (culprit !== undefined) this.#convict(culprit, open)
    const suspicion = culprit !== undefined || isTried(error, at.session) ? 1 : 2
    this.#takeBack(open.filter((entry) => entry.state === "InFlight"), error, suspicion)
    for (const entry of open) if (entry.state === "Abandoned") entry.state = "Settled"
    this.#tell()
  }

  /** Finds what can have had the channel closed: what the text names, or the only message that it can be. */
  #culprit(error: AmqpError, open: ReadonlyArray<Entry>, session: Session): Culprit | undefined {
    const endsConnection = isHangUp(error)
    if (!endsConnection && !Culprits.isRefusal(error)) return undefined
    const named = Culprits.named(error)
    if (named !== undefined && open.some((entry) => named.fits(entry.encoded))) return named
    const [only] = open
    // Of a connection's end it can be the cause only if no other publisher had such a message there.
    const isAlone = only !== undefined && open.length === 1 && this.#mustBeAlone(only) &&
      (!endsConnection || (session.trial.only === only && (session.asking === 0 || wasTriedOften(only))))
    return isAlone ? Culprits.alone(error, only) : undefined
  }

  /**
   * Settles the messages that can be what the channel was closed for, and no other. Of several, the last cannot have been
   * handled before the channel was closed; for the others that is not known.
   */
  #convict({ fits, kind, outcome }: Culprit, open: ReadonlyArray<Entry>): void {
    const guilty = open.filter((entry) => fits(entry.encoded))
    const last = guilty[guilty.length - 1]
    for (const entry of guilty) {
      this.#refused.add(kind(entry.encoded))
      if (entry.state === "Abandoned") continue
      this.#roster.settle(entry, outcome(entry.encoded, entry === last && entry.written === 1 ? "no" : "unknown"))
    }
    // What waits for the same thing would close the next channel, and the one after it.
    for (const entry of this.#waiting.all()) {
      if (!fits(entry.encoded)) continue
      this.release(entry)
      this.#roster.settle(entry, outcome(entry.encoded, Outcomes.published(entry)))
    }
  }

  /** Publishes again what was in flight, or fails it; into quarantine with what may have had the channel closed. */
  #takeBack(entries: ReadonlyArray<Entry>, error: AmqpError, suspicion: 1 | 2): void {
    const isRefusal = Culprits.isRefusal(error) || isHangUp(error)
    if (this.#options.unconfirmed === "fail") {
      for (const entry of entries) {
        if (isRefusal && suspicion === 2) this.#refused.add(ofLikes(entry.encoded))
        this.#roster.settle(entry, Outcomes.lost(error))
      }
      return
    }
    const again: Array<Entry> = []
    for (const entry of entries) {
      entry.state = "Waiting"
      if (isRefusal) entry.suspicion = suspect(entry, suspicion)
      if (this.#lane._tag === "Main" && isSuspect(entry)) this.#lane.divert(entry)
      else again.push(entry)
    }
    if (again.length > 0) this.#waiting.prepend(again)
  }

  #mustBeAlone(entry: Entry): boolean {
    return isSuspect(entry) || (!this.#refused.isEmpty && this.#refused.has(entry.encoded))
  }

  pump(): void {
    this.#pump(this.#now())
    this.#tell()
  }

  #pump(now: number): void {
    const at = this.#at
    if (at._tag === "Off" || at.isDraining) return
    const { channel, session, window } = at
    for (
      let entry = this.#waiting.first();
      entry !== undefined && session.blocked === undefined && channel.isWritable();
      entry = this.#waiting.first()
    ) {
      if (entry.nacked?.on === at) return this.#drain(at)
      if (this.#lane._tag === "Quarantine") {
        const mustBeAlone = this.#mustBeAlone(entry)
        const until = this.#lane.turns.heldUntil(mustBeAlone, window.isAbandoned, now) ??
          (mustBeAlone ? session.trial.heldUntil(now) : undefined)
        if (until !== undefined) {
          this.#holdBack(until)
          if (mustBeAlone) session.trial.whenFree(this.#events.onTurn)
          break
        }
      } else if (!this.#refused.isEmpty && this.#refused.has(entry.encoded)) {
        this.#waiting.shift()
        this.#lane.divert(entry)
        continue
      }
      if (!window.hasRoom(entry.bytes, this.#options)) {
        if (window.isClogged(this.#options)) this.#drain(at)
        break
      }
      const refused = Outcomes.refusedBy(session, entry)
      if (refused !== undefined) {
        this.#waiting.shift()
        this.#roster.settle(entry, refused)
        continue
      }
      if (!this.#write(at, entry, now)) return
    }
    this.#waiting.compact()
  }

  #endTurns({ trial }: Session, open: ReadonlyArray<Entry>, error: AmqpError): void {
    if (this.#lane._tag === "Quarantine") this.#lane.turns.reset()
    // When the connection is closed, others have yet to hear whose turn it was.
    if (!isHangUp(error)) { for (const entry of open) trial.end(entry) }
  }

  #holdBack(until: number): void {
    if (until === this.#heldUntil) return
    this.#heldUntil = until
    this.#events.onHeldBack(until)
  }

  #write(at: On, entry: Entry, now: number): boolean {
    let tag: number
    try {
      tag = at.channel.publishUnsafe(entry.encoded)
    } catch (error) {
      this.#waiting.shift()
      this.#roster.settle(entry, Outcomes.unencodable(entry, error))
      return true
    }
    if (tag < 0) return false
    this.#waiting.shift()
    if (entry.written > 0) this.#roster.metrics.to(entry.encoded.exchange).republished++
    entry.written++
    entry.writtenAt = now
    entry.state = "InFlight"
    entry.returned = undefined
    entry.maybeReturned = undefined
    if (this.#lane._tag === "Quarantine") {
      const mustBeAlone = this.#mustBeAlone(entry)
      this.#lane.turns.written(entry, mustBeAlone)
      if (mustBeAlone) at.session.trial.begin(entry, now)
    }
    at.window.add(entry)
    return true
  }

  /** Hears the broker's answer for one tag, or for all up to it. */
  confirm(tag: number, multiple: boolean, ack: boolean): void {
    const at = this.#at
    if (at._tag === "Off") return
    const now = this.#now()
    let oldest: number | undefined
    if (multiple) {
      at.window.takeUpTo(tag, (entry) => {
        if (this.#answered(at, entry, ack, now)) oldest ??= entry.writtenAt
      })
    } else {
      const entry = at.window.take(tag)
      if (entry !== undefined && this.#answered(at, entry, ack, now)) oldest = entry.writtenAt
    }
    if (oldest !== undefined) this.#roster.metrics.latency(now - oldest)
    this.#pump(now)
    this.#tell()
  }

  /** Handles the answer for one message, and tells if it was confirmed. */
  #answered(at: On, entry: Entry, ack: boolean, now: number): boolean {
    if (this.#lane._tag === "Quarantine") {
      this.#lane.turns.answered(entry)
      at.session.trial.end(entry)
    }
    if (!this.#refused.isEmpty) this.#refused.clear(entry.encoded)
    if (entry.suspicion !== undefined) {
      absolveLikes(entry.suspicion, this.#waiting.all())
      entry.suspicion = undefined
    }
    if (entry.state === "Abandoned") {
      entry.state = "Settled"
      return false
    }
    if (!ack) {
      entry.nacked = { times: (entry.nacked?.times ?? 0) + 1, on: at }
      entry.state = "Resting"
      this.#resting.add(entry)
      this.#roster.metrics.to(entry.encoded.exchange).nacked++
      this.#events.onResting(entry)
      return false
    }
    const returned = entry.returned ?? entry.maybeReturned
    if (returned !== undefined) {
      this.#roster.settle(entry, Outcomes.unroutable(entry, returned))
      return false
    }
    this.#roster.settle(entry, undefined, now)
    return true
  }

  /** Hears that a message came back: the oldest in flight that fits, since returns come in the order of publishing. */
  returned(returned: DriverReturn): void {
    const at = this.#at
    if (at._tag === "Off") return
    this.#roster.metrics.to(returned.exchange).returned++
    Returns.attribute(at.window, returned)
  }

  /** Sends a nacked message again, which has rested, on another channel than the one that refused it. */
  resume(entry: Entry): void {
    if (!this.#resting.delete(entry)) return
    entry.state = "Waiting"
    this.#waiting.unshift(entry)
    this.pump()
  }

  /** Fails a nacked message that is not tried again; those behind it go by another channel, as if it were. */
  giveUp(entry: Entry): void {
    if (!this.#resting.delete(entry)) return
    const at = this.#at
    if (at._tag === "On" && entry.nacked?.on === at && this.#now() - at.since >= renewalMillis) this.#drain(at)
    this.#roster.settle(entry, new PublishError.Nacked({ published: "unknown", times: entry.nacked?.times ?? 1 }))
    this.#tell()
  }

  #drain(at: On): void {
    if (at.isDraining) return
    at.isDraining = true
    at.onDraining()
  }

  /** Says what the present state means; called at the end of whatever may have changed it. */
  #tell(): void {
    const at = this.#at
    if (at._tag === "On" && at.isDraining && at.window.isAbandoned) at.onDrained()
    this.#roster.tell()
  }
}
