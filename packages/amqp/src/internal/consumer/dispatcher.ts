/**
 * Hands portions to handlers, up to a number at a time. Plain synchronous code, because it runs once or twice per
 * message; the only fibers are the handlers'. Only `#settle` settles a portion, and only `#settle` tells the worker its
 * fate.
 */
import type * as Clock from "effect/Clock"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Monotonic from "../monotonic.ts"
import type { WakeLater } from "../wakeLater.ts"
import type { PortionFate } from "./fate.ts"
import { Portion } from "./portions.ts"

/** What is done with portions. */
export interface DispatcherOptions<T> {
  /** Handlers that may run at once. */
  readonly concurrency: number
  /** Portions of one key are handled one by one, in the order of their arrival. User code: it may throw. */
  readonly keyOf: ((content: T) => string) | undefined
  readonly clock: Clock.Clock
  readonly wakeLater: WakeLater
  /** Starts the handler. User code: it may throw. */
  readonly handle: (portion: Portion<T>) => Fiber.Fiber<unknown, unknown>
  /** Tells that what a handler succeeded with speaks of messages that failed. */
  readonly isPartial: (value: unknown) => boolean
  /** Starts the failure policy after a handler that did not succeed, or only in part. */
  readonly resolve: (portion: Portion<T>, exit: Exit.Exit<unknown, unknown>) => Fiber.Fiber<PortionFate>
  /** Writes the fate of a portion, and counts it; told the time by the clock. */
  readonly onSettled: (portion: Portion<T>, fate: PortionFate, now: number) => void
  /** Writes and counts what was settled since the last flush. */
  readonly flush: () => void
}

/** Hands portions to handlers. */
export class Dispatcher<T> {
  readonly #options: DispatcherOptions<T>
  #buffer: Array<Portion<T> | undefined> = []
  #head = 0
  /** Portions whose handler runs, or whose failure policy is at work. */
  readonly #busy = new Set<Portion<T>>()
  /** The keys that are being handled, with the portions that wait behind them. */
  readonly #lanes = new Map<string, Array<Portion<T>>>()
  /** Portions whose turn within their key has come. */
  #ready: Array<Portion<T>> = []
  #state: "Open" | "Stopped" = "Open"
  #isPumping = false
  #isPumpDue = false
  #isFlushDue = false
  #onIdle: (() => void) | undefined
  /** The time, read when the present batch of frames began to come. */
  #arrivedAt = 0
  /** The time, as long as no code of users has run since it was read. */
  #now: number | undefined

  constructor(options: DispatcherOptions<T>) {
    this.#options = options
  }

  /** Counts the handlers that have begun with a portion that is not settled. */
  get running(): number {
    return this.#busy.size
  }

  /** Iterates over the portions that are not settled. */
  *unsettled(): IterableIterator<Portion<T>> {
    yield* this.#busy
    for (const portion of this.#queued()) {
      if (portion.state === "Waiting") yield portion
    }
  }

  *#queued(): IterableIterator<Portion<T>> {
    yield* this.#ready
    for (const lane of this.#lanes.values()) yield* lane
    for (let i = this.#head; i < this.#buffer.length; i++) yield this.#buffer[i]!
  }

  /** Takes a portion in, inside a driver callback, which has arrived with it or before; its handler begins after that. */
  offer(content: T, arrivedAt?: number): void {
    if (this.#state === "Stopped") return
    if (!this.#isPumpDue) this.#arrivedAt = Monotonic.millis(this.#options.clock)
    this.#buffer.push(new Portion(content, arrivedAt ?? this.#arrivedAt))
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    this.#options.wakeLater(() => {
      this.#isPumpDue = false
      this.#pump()
      this.#options.flush()
    })
  }

  /** Forgets what no handler has begun with, and returns it. */
  forget(): ReadonlyArray<Portion<T>> {
    const forgotten: Array<Portion<T>> = []
    for (const portion of this.#queued()) {
      if (portion.state !== "Waiting") continue
      portion.state = "Forgotten"
      forgotten.push(portion)
    }
    this.#buffer = []
    this.#head = 0
    for (const lane of this.#lanes.values()) lane.length = 0
    for (const portion of this.#ready) this.#lanes.delete(portion.key!)
    this.#ready = []
    return forgotten
  }

  /** Begins nothing more; forgets what has not begun, and returns it. */
  stop(): ReadonlyArray<Portion<T>> {
    this.#state = "Stopped"
    return this.forget()
  }

  /** Calls back once, when no handler runs. */
  whenIdle(onIdle: () => void): void {
    if (this.#busy.size === 0) onIdle()
    else this.#onIdle = onIdle
  }

  /** Gives a portion back: at once if no handler has begun with it, else when its handler is interrupted. */
  interrupt(portion: Portion<T>): void {
    if (portion.state === "Waiting") this.#settle(portion, "giveBack")
    else if (portion.state === "Handling" || portion.state === "Resolving") {
      portion.isInterrupted = true
      portion.fiber?.interruptUnsafe()
    }
  }

  #pump(): void {
    // A handler that ends while another begins is seen by the loop that is already running.
    if (this.#isPumping) return
    this.#isPumping = true
    this.#now = undefined
    while (this.#busy.size < this.#options.concurrency) {
      const portion = this.#take()
      if (portion === undefined) break
      this.#begin(portion)
    }
    this.#isPumping = false
  }

  #take(): Portion<T> | undefined {
    for (let next = this.#ready.shift(); next !== undefined; next = this.#ready.shift()) {
      if (next.state === "Waiting") return next
      this.#advance(next.key!)
    }
    while (this.#head < this.#buffer.length) {
      const portion = this.#buffer[this.#head]!
      // Let go of it at once: its body may be large, and with a backlog the buffer is never empty.
      this.#buffer[this.#head++] = undefined
      if (this.#head * 2 >= this.#buffer.length) {
        this.#buffer = this.#buffer.slice(this.#head)
        this.#head = 0
      }
      if (portion.state !== "Waiting") continue
      const keyOf = this.#options.keyOf
      if (keyOf === undefined) return portion
      let key: string
      try {
        // A header that is not there is a key as well, whatever the types say.
        key = String(keyOf(portion.content))
      } catch (error) {
        this.#busy.add(portion)
        this.#resolve(portion, Exit.die(error))
        continue
      }
      portion.key = key
      const lane = this.#lanes.get(key)
      if (lane === undefined) {
        this.#lanes.set(key, [])
        return portion
      }
      lane.push(portion)
    }
    return undefined
  }

  #begin(portion: Portion<T>): void {
    portion.state = "Handling"
    portion.startedAt = this.#now ?? Monotonic.millis(this.#options.clock)
    this.#now = undefined
    this.#busy.add(portion)
    let fiber: Fiber.Fiber<unknown, unknown>
    try {
      fiber = this.#options.handle(portion)
    } catch (error) {
      this.#resolve(portion, Exit.die(error))
      return
    }
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.#handled(portion, exit)
    portion.fiber = fiber
    fiber.addObserver((exit) => this.#handled(portion, exit))
  }

  #handled(portion: Portion<T>, exit: Exit.Exit<unknown, unknown>): void {
    if (exit._tag === "Success" && !this.#options.isPartial(exit.value)) this.#finish(portion, "ack")
    else this.#resolve(portion, exit)
  }

  #resolve(portion: Portion<T>, exit: Exit.Exit<unknown, unknown>): void {
    portion.state = "Resolving"
    const fiber = this.#options.resolve(portion, exit)
    portion.fiber = fiber
    // Interrupted, or broken by the user's policy itself: then the message is to come again, or to be looked at.
    fiber.addObserver((exit) =>
      this.#finish(portion, exit._tag === "Success" ? exit.value : portion.isInterrupted ? "giveBack" : "deadLetter")
    )
  }

  #settle(portion: Portion<T>, fate: PortionFate): void {
    portion.state = "Settled"
    // The next handler begins now, if it does not have to wait.
    this.#now = Monotonic.millis(this.#options.clock)
    this.#options.onSettled(portion, fate, this.#now)
  }

  #finish(portion: Portion<T>, fate: PortionFate): void {
    this.#busy.delete(portion)
    this.#settle(portion, fate)
    if (portion.key !== undefined) this.#advance(portion.key)
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

  /** Lets the next portion of a key begin, or frees the key. */
  #advance(key: string): void {
    const next = this.#lanes.get(key)?.shift()
    if (next === undefined) this.#lanes.delete(key)
    else this.#ready.push(next)
  }
}
