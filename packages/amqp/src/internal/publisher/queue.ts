/**
 * The publisher's state machine: which messages wait, which are in flight on the present channel, and how each ends.
 *
 * A message is `Waiting` (in `#waiting`), `InFlight` (in `#window`), `Resting` (nacked, until its pause is over), or
 * `Settled`. Only `#settle` makes it settled, and only `#settle` tells its owner. Plain synchronous code: it runs inside
 * driver events and once or twice per message.
 */
import type { DriverChannel, DriverReturn } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import type { Message } from "../../AmqpMessage.ts"
import type { WaitingFor } from "../../PublishError.ts"
import * as PublishError from "../../PublishError.ts"
import type { Session } from "../connection/session.ts"
import type { Encoded } from "../wire/encodeMessage.ts"
import type { Entry, Outcome } from "./entry.ts"
import * as Outcomes from "./outcome.ts"
import type { Blame, Suspects } from "./quarantine.ts"
import { blameOf } from "./quarantine.ts"
import { Waiting } from "./waiting.ts"
import type { Bounds } from "./window.ts"
import { Window } from "./window.ts"

/** The bounds of a queue, and what it may do by itself. */
export interface QueueOptions extends Bounds {
  readonly maxWaiting: number
  readonly whenFull: "wait" | "fail" | "dropOldest"
  readonly unconfirmed: "republish" | "fail"
}

/** What the queue tells its owner, for metrics and for what takes time. */
export interface QueueEvents {
  readonly onConfirmed: () => void
  /** Once for each confirm of one or many messages: the milliseconds since the oldest of them was written. */
  readonly onLatency: (millis: number) => void
  readonly onFailed: () => void
  readonly onReturned: () => void
  readonly onNacked: () => void
  readonly onRepublished: () => void
  /** A nacked message rests; call `resume` or `giveUp` with it later. */
  readonly onResting: (entry: Entry) => void
  /** A message must go to a channel other than the present one: nothing more is written to it, so close it soon. */
  readonly onRecycle: () => void
  /** Nobody waits any more for what is in flight on a channel that is to be closed. */
  readonly onDrained: () => void
  /** What waits has to wait for what is in flight, but no longer than so many milliseconds: call `pump` then. */
  readonly onHeldBack: (millis: number) => void
  /** Counts may have changed. */
  readonly onChanged: () => void
  /** A message is on its way, and none was before. */
  readonly onBusy: () => void
  /** Nobody waits for a message any more. */
  readonly onIdle: () => void
}

/** Counts of a queue at one moment. */
export interface QueueCounts {
  readonly waiting: number
  readonly inFlight: number
  readonly inFlightBytes: number
}

// How long others wait while a message that may have its channel closed is sent alone.
const aloneMillis = 1000

/** All messages of one channel of a publisher. */
export class PublishQueue {
  readonly #options: QueueOptions
  readonly #suspects: Suspects
  readonly #events: QueueEvents
  readonly #now: () => number
  readonly #waiting = new Waiting()
  readonly #resting = new Set<Entry>()
  #window = new Window()
  /** The ends of the list of all messages whose owners wait, in the order of submission. */
  #oldest: Entry | undefined
  #newest: Entry | undefined
  #channel: DriverChannel | undefined
  #session: Session | undefined
  #generation = 0
  readonly #pumped = new Set<() => void>()
  #recycling = false
  /** The last channel was closed by the broker because of a message. */
  #wasBlamed = false
  /** A suspect that is in flight, and the first that waits until nothing is, since when. */
  #trial: Entry | undefined
  #heldBack: Entry | undefined
  #heldBackAt = 0
  /** Of the confirm that is being handled. */
  #oldestConfirmed: number | undefined
  #over: AmqpError | "closed" | undefined

  constructor(options: QueueOptions, suspects: Suspects, events: QueueEvents, now: () => number) {
    this.#options = options
    this.#suspects = suspects
    this.#events = events
    this.#now = now
  }

  get #waitingCount(): number {
    return this.#waiting.count + this.#resting.size
  }

  counts(): QueueCounts {
    return {
      waiting: this.#waitingCount,
      inFlight: this.#window.count,
      inFlightBytes: this.#window.bytes
    }
  }

  get isIdle(): boolean {
    return this.#oldest === undefined
  }

  /** Whether the last channel ended on purpose or because of a message, so that nothing is wrong with the broker. */
  get isReplaced(): boolean {
    return this.#recycling || this.#wasBlamed
  }

  /** The message whose owner has waited longest. */
  get oldest(): Entry | undefined {
    return this.#oldest
  }

  /** Take a message; its outcome comes later, or within this call if it cannot be sent. */
  submit(
    encoded: Encoded,
    onSettled: (entry: Entry, outcome: Outcome) => void,
    position: number,
    message: Message
  ): Entry {
    const entry: Entry = {
      encoded,
      onSettled,
      message,
      position,
      state: "Waiting",
      bytes: encoded.body.byteLength + encoded.headerBytes + overhead,
      submittedAt: this.#now(),
      writtenAt: 0,
      written: 0,
      abandoned: false,
      nacks: 0,
      nackedOn: 0,
      returned: undefined,
      older: undefined,
      newer: undefined
    }
    if (this.#over !== undefined) {
      this.#settle(entry, Outcomes.over(entry, this.#over))
      this.#tell()
      return entry
    }
    this.#enlist(entry)
    this.#waiting.push(entry)
    this.#pump(entry.submittedAt)
    if (entry.state === "Waiting" && this.#waitingCount > this.#options.maxWaiting) {
      this.#overflow(entry, this.#waitingCount - 1)
      this.#pump(entry.submittedAt)
    }
    this.#tell()
    return entry
  }

  #enlist(entry: Entry): void {
    entry.older = this.#newest
    if (this.#newest !== undefined) this.#newest.newer = entry
    this.#newest = entry
    if (this.#oldest !== undefined) return
    this.#oldest = entry
    this.#events.onBusy()
  }

  /** Its owner waits no more. */
  #delist(entry: Entry): void {
    const { newer, older } = entry
    if (older === undefined && this.#oldest !== entry) return
    if (older === undefined) this.#oldest = newer
    else older.newer = newer
    if (newer === undefined) this.#newest = older
    else newer.older = older
    entry.older = undefined
    entry.newer = undefined
  }

  #overflow(entry: Entry, waiting: number): void {
    if (this.#options.whenFull === "wait") return
    const victim = this.#options.whenFull === "fail"
      ? entry
      : this.#waiting.first()!
    this.#withdraw(victim)
    this.#settle(victim, new PublishError.Full({ published: Outcomes.published(victim), waiting }))
  }

  /** The owner of a message waits no more. What is in flight keeps its place until the broker has answered. */
  abandon(entry: Entry): void {
    this.#abandon(entry)
    this.pump()
  }

  #abandon(entry: Entry): void {
    if (entry.state === "Settled" || entry.abandoned) return
    entry.abandoned = true
    this.#delist(entry)
    if (entry.state === "InFlight") {
      this.#window.abandon(entry)
    } else {
      this.#withdraw(entry)
    }
  }

  /** The owner of some messages waits no more. */
  abandonAll(isOwned: (entry: Entry) => boolean): void {
    let entry = this.#oldest
    while (entry !== undefined) {
      const { newer }: Entry = entry
      if (isOwned(entry)) this.#abandon(entry)
      entry = newer
    }
    this.pump()
  }

  /** Fail the messages that were submitted so many milliseconds ago, or longer. */
  expire(millis: number): void {
    const due = this.#now() - millis
    for (let entry = this.#oldest; entry !== undefined && entry.submittedAt <= due; entry = this.#oldest) {
      const waitingFor = this.waitingFor(entry)
      this.#abandon(entry)
      this.#settle(entry, new PublishError.ConfirmTimeout({ published: Outcomes.published(entry), millis, waitingFor }))
    }
    // What waits behind them may be due in the same moment, and was not to be written then.
    this.pump()
  }

  /** What a message waits for. */
  waitingFor(entry: Entry): WaitingFor {
    if (entry.state === "InFlight") return this.#session?.blocked === undefined ? "confirm" : "unblocked"
    if (this.#channel === undefined) return "connection"
    if (entry.state === "Resting") return "retry"
    return this.#session?.blocked === undefined ? "window" : "unblocked"
  }

  /** A channel is ready. */
  attach(channel: DriverChannel, session: Session): void {
    this.#channel = channel
    this.#session = session
    this.#generation++
    this.#recycling = false
    this.pump()
  }

  /** The channel is gone, and with it the confirms of what was in flight. */
  detach(error: AmqpError): void {
    this.#channel = undefined
    this.#session = undefined
    const open = this.#window.open()
    this.#window = new Window()
    this.#trial = undefined
    const blame = blameOf(error)
    this.#wasBlamed = blame !== undefined
    if (blame !== undefined) {
      this.#suspects.add(blame)
      this.#blame(blame, open)
    }
    const again: Array<Entry> = []
    for (const entry of open) {
      if (entry.abandoned) entry.state = "Settled"
      else if (entry.state === "InFlight") {
        if (entry.returned !== undefined) this.#settle(entry, Outcomes.unroutable(entry, entry.returned))
        else if (this.#options.unconfirmed === "republish") again.push(entry)
        else this.#settle(entry, Outcomes.lost(error))
      }
    }
    if (again.length > 0) {
      for (const entry of again) entry.state = "Waiting"
      this.#waiting.prepend(again)
    }
    this.#tell()
  }

  /**
   * If the broker closed the channel because of one message, settle those that can be the one, and no other. Of several
   * that fit, the last cannot have been handled before the channel was closed; for the others it is not known.
   */
  #blame({ fits, outcome }: Blame, open: ReadonlyArray<Entry>): void {
    const guilty = open.filter((entry) => fits(entry.encoded))
    const last = guilty[guilty.length - 1]
    for (const entry of guilty) {
      if (entry.abandoned) continue
      this.#settle(entry, outcome(entry.encoded, entry === last && entry.written === 1 ? "no" : "unknown"))
    }
    // What waits for the same thing would close the next channel, and the one after it.
    for (const entry of this.#waiting.all()) {
      if (fits(entry.encoded)) {
        this.#withdraw(entry)
        this.#settle(entry, outcome(entry.encoded, Outcomes.published(entry)))
      }
    }
  }

  /** Hear of every time that waiting messages were written, until the returned function is called. */
  onPumped(listener: () => void): () => void {
    this.#pumped.add(listener)
    return () => this.#pumped.delete(listener)
  }

  /** Write what may be written. */
  pump(): void {
    this.#pump(this.#now())
    this.#tell()
  }

  #pump(now: number): void {
    const channel = this.#channel
    const session = this.#session
    if (channel === undefined || session === undefined || this.#recycling) return
    for (
      let entry = this.#waiting.first();
      entry !== undefined && session.blocked === undefined && channel.isWritable();
      entry = this.#waiting.first()
    ) {
      if (entry.nackedOn === this.#generation) return this.#recycle()
      if (!this.#suspects.isEmpty && this.#isHeldBack(entry, now)) break
      if (!this.#window.hasRoom(entry.bytes, this.#options)) {
        if (this.#window.isClogged(this.#options)) this.#recycle()
        break
      }
      const refused = Outcomes.refusedBy(session, entry)
      if (refused !== undefined) {
        this.#waiting.shift()
        this.#settle(entry, refused)
        continue
      }
      if (!this.#write(channel, entry, now)) return
    }
    this.#waiting.compact()
    for (const listener of this.#pumped) listener()
  }

  /**
   * A message like one that had the channel closed is sent alone, so that it takes no other with it. If that takes too
   * long, because a confirm does not come, the others go on.
   */
  #isHeldBack(entry: Entry, now: number): boolean {
    if (!this.#suspects.has(entry.encoded)) {
      return this.#trial !== undefined && now - this.#trial.writtenAt < aloneMillis
    }
    if (this.#window.isAbandoned) return false
    if (this.#heldBack !== entry) {
      this.#heldBack = entry
      this.#heldBackAt = now
      this.#events.onHeldBack(aloneMillis)
    }
    return now - this.#heldBackAt < aloneMillis
  }

  #write(channel: DriverChannel, entry: Entry, now: number): boolean {
    let tag: number
    try {
      tag = channel.publishUnsafe(entry.encoded)
    } catch (error) {
      this.#waiting.shift()
      this.#settle(entry, Outcomes.unencodable(entry, error))
      return true
    }
    if (tag < 0) return false
    this.#waiting.shift()
    if (entry.written > 0) this.#events.onRepublished()
    entry.written++
    entry.writtenAt = now
    entry.state = "InFlight"
    entry.returned = undefined
    if (!this.#suspects.isEmpty && this.#suspects.has(entry.encoded)) {
      this.#trial = entry
      this.#heldBack = undefined
      this.#events.onHeldBack(aloneMillis)
    }
    this.#window.add(entry)
    return true
  }

  /** The broker answered for one tag, or for all up to it. */
  confirm(tag: number, multiple: boolean, ack: boolean): void {
    const now = this.#now()
    this.#oldestConfirmed = undefined
    if (multiple) this.#window.takeUpTo(tag, (entry) => this.#answered(entry, ack))
    else {
      const entry = this.#window.take(tag)
      if (entry !== undefined) this.#answered(entry, ack)
    }
    if (this.#oldestConfirmed !== undefined) this.#events.onLatency(now - this.#oldestConfirmed)
    this.#pump(now)
    this.#tell()
  }

  #answered(entry: Entry, ack: boolean): void {
    if (entry === this.#trial) this.#trial = undefined
    if (!this.#suspects.isEmpty) this.#suspects.clear(entry.encoded)
    if (entry.abandoned) entry.state = "Settled"
    else if (!ack) {
      entry.nacks++
      entry.nackedOn = this.#generation
      entry.state = "Resting"
      this.#resting.add(entry)
      this.#events.onNacked()
      this.#events.onResting(entry)
    } else if (entry.returned !== undefined) {
      this.#settle(entry, Outcomes.unroutable(entry, entry.returned))
    } else {
      this.#oldestConfirmed ??= entry.writtenAt
      this.#events.onConfirmed()
      this.#settle(entry, undefined)
    }
  }

  /** A message came back. It is the oldest in flight that fits: returns come in the order of their publishes. */
  returned(returned: DriverReturn): void {
    this.#events.onReturned()
    const entry = this.#window.find((entry) => {
      const { exchange, mandatory, properties, routingKey } = entry.encoded
      return entry.returned === undefined && mandatory && properties.messageId === returned.messageId &&
        exchange === returned.exchange && routingKey === returned.routingKey
    })
    if (entry !== undefined) entry.returned = returned
  }

  /** A nacked message has rested: send it again, on another channel than the one that refused it. */
  resume(entry: Entry): void {
    if (!this.#resting.delete(entry)) return
    entry.state = "Waiting"
    this.#waiting.unshift(entry)
    this.pump()
  }

  /** A nacked message is not tried again. */
  giveUp(entry: Entry): void {
    if (!this.#resting.delete(entry)) return
    this.#settle(entry, new PublishError.Nacked({ published: "unknown", times: entry.nacks }))
    this.#tell()
  }

  #recycle(): void {
    if (this.#recycling) return
    this.#recycling = true
    this.#events.onRecycle()
  }

  /** Nothing can be published any more: the connection is finished, or the publisher was closed. */
  finish(cause: AmqpError | "closed"): void {
    if (this.#over !== undefined && this.#over !== "closed") return
    this.#over = cause
    const entries: Array<Entry> = []
    for (let entry = this.#oldest; entry !== undefined; entry = entry.newer) entries.push(entry)
    this.#waiting.clear()
    this.#resting.clear()
    for (const entry of entries) {
      this.#settle(entry, Outcomes.over(entry, cause))
      entry.abandoned = true
    }
    this.#window.abandonAll()
    this.#tell()
  }

  /** Refuse what comes from now on; what is here goes on to its end. */
  close(): void {
    this.#over ??= "closed"
  }

  /** Take a message that is not in flight out of the queue. */
  #withdraw(entry: Entry): void {
    entry.state = "Settled"
    if (this.#resting.delete(entry)) this.#waiting.compact()
    else this.#waiting.withdrawn()
  }

  #settle(entry: Entry, outcome: Outcome): void {
    this.#delist(entry)
    // What was abandoned in flight keeps its place until the broker has answered for its tag.
    if (!entry.abandoned) entry.state = "Settled"
    if (outcome !== undefined) this.#events.onFailed()
    entry.onSettled(entry, outcome)
  }

  /** Say what the present state means; at the end of whatever may have changed it. */
  #tell(): void {
    this.#events.onChanged()
    if (this.#recycling && this.#window.isAbandoned) this.#events.onDrained()
    if (this.isIdle) this.#events.onIdle()
  }
}

// What a message occupies beside its body and headers, in bytes.
const overhead = 256
