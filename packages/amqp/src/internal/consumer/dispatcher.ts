/**
 * Which deliveries wait, which are being handled, and how each ends. Plain synchronous code, because it runs once or
 * twice per message; the only fibers are the handlers'.
 *
 * A piece of work is `Waiting` (in the buffer, or behind another of its key), `Handling` (its handler runs),
 * `Resolving` (its handler did not succeed, and its policy is at work), `Settled`, or `Forgotten` (its handler had not
 * begun, and the broker has it back). Only `#settle` makes it settled, and only `#settle` tells its owner how.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Monotonic from "../monotonic.ts"
import type { WakeLater } from "../wakeLater.ts"

/** How work ends; `delayed` means that each message was settled by itself, when its copy was where it waits. */
export type Settlement = "ack" | "delayed" | "deadLetter" | "requeue"

/** A message, or a batch of them, on its way through a handler. */
export class Work<T> {
  readonly portion: T
  /** Milliseconds of the clock; the broker waits for an acknowledgement since then. */
  readonly arrivedAt: number
  startedAt: number | undefined = undefined
  state: "Waiting" | "Handling" | "Resolving" | "Settled" | "Forgotten" = "Waiting"
  key: string | undefined = undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** We interrupted it: that says nothing against the message. */
  isInterrupted = false

  constructor(portion: T, arrivedAt: number) {
    this.portion = portion
    this.arrivedAt = arrivedAt
  }
}

/** What is done with pieces of work. */
export interface DispatcherOptions<T> {
  /** How many handlers may run at once. */
  readonly concurrency: number
  /** Work of one key is handled one by one, in the order of its arrival. User code: it may throw. */
  readonly keyOf: ((portion: T) => string) | undefined
  readonly clock: Clock.Clock
  readonly wakeLater: WakeLater
  /** Begin to handle. User code: it may throw. */
  readonly handle: (work: Work<T>) => Fiber.Fiber<unknown, unknown>
  /** A handler did not succeed: find out what that means for its message. */
  readonly resolve: (work: Work<T>, cause: Cause.Cause<unknown>) => Fiber.Fiber<Settlement>
  /** Tell the broker, and whoever counts. */
  readonly onSettled: (work: Work<T>, settlement: Settlement) => void
  /** What was settled since the last time may be written, and counted. */
  readonly flush: () => void
}

/** Hands work to handlers, so many at a time. */
export class Dispatcher<T> {
  readonly #options: DispatcherOptions<T>
  #buffer: Array<Work<T> | undefined> = []
  #head = 0
  /** Work whose handler runs, or whose policy is at work. */
  readonly #busy = new Set<Work<T>>()
  /** The keys that are being handled, with what waits behind them. */
  readonly #lanes = new Map<string, Array<Work<T>>>()
  /** Work whose turn within its key has come. */
  #ready: Array<Work<T>> = []
  #state: "Open" | "Stopped" = "Open"
  #isPumping = false
  #isPumpDue = false
  #isFlushDue = false
  #onIdle: (() => void) | undefined

  constructor(options: DispatcherOptions<T>) {
    this.#options = options
  }

  /** How many handlers have begun whose work is not settled. */
  get running(): number {
    return this.#busy.size
  }

  /** All work that is not settled. */
  *unsettled(): IterableIterator<Work<T>> {
    yield* this.#busy
    for (const work of this.#queued()) {
      if (work.state === "Waiting") yield work
    }
  }

  *#queued(): IterableIterator<Work<T>> {
    yield* this.#ready
    for (const lane of this.#lanes.values()) yield* lane
    for (let i = this.#head; i < this.#buffer.length; i++) yield this.#buffer[i]!
  }

  /** Take work in, inside a driver callback; its handler begins after that. */
  offer(portion: T, arrivedAt: number): void {
    if (this.#state === "Stopped") return
    this.#buffer.push(new Work(portion, arrivedAt))
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    this.#options.wakeLater(() => {
      this.#isPumpDue = false
      this.#pump()
      this.#options.flush()
    })
  }

  /** Forget what no handler has begun with, because the broker has it back. */
  forget(): void {
    for (const work of this.#queued()) {
      if (work.state === "Waiting") work.state = "Forgotten"
    }
    this.#buffer = []
    this.#head = 0
    for (const lane of this.#lanes.values()) lane.length = 0
    for (const work of this.#ready) this.#lanes.delete(work.key!)
    this.#ready = []
  }

  /** Begin nothing more, and forget what has not begun. */
  stop(): void {
    this.#state = "Stopped"
    this.forget()
  }

  /** Call back once, when no handler runs. */
  whenIdle(onIdle: () => void): void {
    if (this.#busy.size === 0) onIdle()
    else this.#onIdle = onIdle
  }

  /** Give work back: requeue it, unless its handler has begun; then interrupt that, and requeue it if it minds. */
  interrupt(work: Work<T>): void {
    if (work.state === "Waiting") this.#settle(work, "requeue")
    else if (work.state === "Handling" || work.state === "Resolving") {
      work.isInterrupted = true
      work.fiber?.interruptUnsafe()
    }
  }

  #pump(): void {
    // A handler that ends while another begins is seen by the loop that is already running.
    if (this.#isPumping) return
    this.#isPumping = true
    while (this.#busy.size < this.#options.concurrency) {
      const work = this.#take()
      if (work === undefined) break
      this.#begin(work)
    }
    this.#isPumping = false
  }

  #take(): Work<T> | undefined {
    for (let next = this.#ready.shift(); next !== undefined; next = this.#ready.shift()) {
      if (next.state === "Waiting") return next
      this.#advance(next.key!)
    }
    while (this.#head < this.#buffer.length) {
      const work = this.#buffer[this.#head]!
      // Let go of it at once: its body may be large, and with a backlog the buffer is never empty.
      this.#buffer[this.#head++] = undefined
      if (this.#head * 2 >= this.#buffer.length) {
        this.#buffer = this.#buffer.slice(this.#head)
        this.#head = 0
      }
      if (work.state !== "Waiting") continue
      const keyOf = this.#options.keyOf
      if (keyOf === undefined) return work
      let key: string
      try {
        // A header that is not there is a key as well, whatever the types say.
        key = String(keyOf(work.portion))
      } catch (error) {
        this.#busy.add(work)
        this.#resolve(work, Cause.die(error))
        continue
      }
      work.key = key
      const lane = this.#lanes.get(key)
      if (lane === undefined) {
        this.#lanes.set(key, [])
        return work
      }
      lane.push(work)
    }
    return undefined
  }

  #begin(work: Work<T>): void {
    work.state = "Handling"
    work.startedAt = Monotonic.millis(this.#options.clock)
    this.#busy.add(work)
    let fiber: Fiber.Fiber<unknown, unknown>
    try {
      fiber = this.#options.handle(work)
    } catch (error) {
      this.#resolve(work, Cause.die(error))
      return
    }
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.#handled(work, exit)
    work.fiber = fiber
    fiber.addObserver((exit) => this.#handled(work, exit))
  }

  #handled(work: Work<T>, exit: Exit.Exit<unknown, unknown>): void {
    if (exit._tag === "Success") this.#finish(work, "ack")
    else this.#resolve(work, exit.cause)
  }

  #resolve(work: Work<T>, cause: Cause.Cause<unknown>): void {
    work.state = "Resolving"
    const fiber = this.#options.resolve(work, cause)
    work.fiber = fiber
    // Interrupted, or broken by the user's policy itself: then the message is to come again, or to be looked at.
    fiber.addObserver((exit) =>
      this.#finish(work, exit._tag === "Success" ? exit.value : work.isInterrupted ? "requeue" : "deadLetter")
    )
  }

  #settle(work: Work<T>, settlement: Settlement): void {
    work.state = "Settled"
    this.#options.onSettled(work, settlement)
  }

  #finish(work: Work<T>, settlement: Settlement): void {
    this.#busy.delete(work)
    this.#settle(work, settlement)
    if (work.key !== undefined) this.#advance(work.key)
    if (!this.#isPumping) {
      this.#pump()
      this.#flushSoon()
    }
    if (this.#busy.size === 0 && this.#onIdle !== undefined) {
      const onIdle = this.#onIdle
      this.#onIdle = undefined
      onIdle()
    }
  }

  /** Handlers that end one by one in the same turn of the event loop share a flush. */
  #flushSoon(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#options.wakeLater(() => {
      this.#isFlushDue = false
      this.#options.flush()
    })
  }

  /** Nothing of a key is being handled any more: the next of it may be, or the key is free. */
  #advance(key: string): void {
    const next = this.#lanes.get(key)?.shift()
    if (next === undefined) this.#lanes.delete(key)
    else this.#ready.push(next)
  }
}
