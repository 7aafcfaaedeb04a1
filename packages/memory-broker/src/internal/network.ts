/**
 * All connections together, and the turns in which the broker reads what was written and tells what it sent. A turn is
 * one task of the scheduler and goes on while there is work, so that without latency nothing waits for the Clock.
 */
import type * as Scheduler from "effect/Scheduler"
import type { Broker } from "./broker.ts"
import type { Timer } from "./timers.ts"
import type { Trace } from "./trace.ts"

/** Rounds of one turn, after which other fibers get theirs. */
const roundsPerTurn = 1000

/** A connection that takes turns. */
export interface Party {
  /** Lets the broker handle what has arrived. */
  readonly process: () => void
  /** Tells the client what has arrived for it. */
  readonly flush: () => void
}

export class Network<Link extends Party> {
  readonly broker: Broker
  readonly links = new Set<Link>()
  readonly trace: Trace
  readonly #dispatcher: Scheduler.SchedulerDispatcher
  readonly #awake = new Set<Link>()
  readonly #alarms = new Map<Link, Timer>()
  #isScheduled = false
  #handled = 0
  #isSilent = false
  isDown = false

  constructor(broker: Broker, scheduler: Scheduler.Scheduler, trace: Trace) {
    this.broker = broker
    this.#dispatcher = scheduler.makeDispatcher()
    this.trace = trace
  }

  get now(): number {
    return this.broker.timers.now
  }

  get latency(): number {
    return this.broker.faults.latency
  }

  /** Frames that the broker has handled since it was made. */
  get handled(): number {
    return this.#handled
  }

  /** Runs a task soon, after the caller has returned. */
  later(task: () => void): void {
    this.#dispatcher.scheduleTask(task, 0)
  }

  wake(link: Link): void {
    this.#awake.add(link)
    if (this.#isScheduled || this.#isSilent) return
    this.#isScheduled = true
    this.later(() => this.#turn())
  }

  wakeAt(link: Link, at: number): void {
    const current = this.#alarms.get(link)
    if (current !== undefined && current.at <= at) return
    current?.cancel()
    const timer = this.broker.timers.schedule(at, () => {
      this.#alarms.delete(link)
      this.wake(link)
    })
    this.#alarms.set(link, timer)
  }

  /** Timers for frames under way. */
  get alarmCount(): number {
    return this.#alarms.size
  }

  forget(link: Link): void {
    this.links.delete(link)
    this.#alarms.get(link)?.cancel()
    this.#alarms.delete(link)
  }

  #turn(): void {
    this.#isScheduled = true
    for (let round = 0; this.#awake.size > 0 && !this.#isSilent && round < roundsPerTurn; round++) {
      const links = [...this.#awake]
      this.#awake.clear()
      for (const link of links) link.process()
      this.broker.confirms.flush()
      for (const link of new Set([...links, ...this.#awake])) link.flush()
    }
    this.#isScheduled = false
    const next = this.#awake.values().next()
    if (next.done !== true) this.wake(next.value)
  }

  /** Counts one more frame. Returns `false`, and silences the broker, if the broker may not handle that frame. */
  admit(): boolean {
    const { faults } = this.broker
    if (this.#isSilent) return false
    if (faults.silentAfter <= 0) {
      this.#isSilent = true
      return false
    }
    faults.silentAfter--
    this.#handled++
    return true
  }

  /** Tells if the connection of the frame that was just handled is to be cut. */
  cutsNow(): boolean {
    const { faults } = this.broker
    if (--faults.cutAfter > 0) return false
    faults.cutAfter = Number.POSITIVE_INFINITY
    return true
  }

  /** Handles this many more frames, then neither read nor write. */
  silence(after: number): void {
    this.broker.faults.silentAfter = after
    this.#isSilent = after <= 0
  }

  /** Answers again, beginning with what has piled up. */
  resume(): void {
    this.broker.faults.silentAfter = Number.POSITIVE_INFINITY
    this.#isSilent = false
    this.wakeAll()
  }

  wakeAll(): void {
    for (const link of this.links) this.wake(link)
    for (const link of this.#awake) this.wake(link)
  }
}
