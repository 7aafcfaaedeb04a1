/**
 * The broker's only way to wait: timers on the Clock. One fiber sleeps until the earliest of them.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** A timer that has not fired. Cancelling it twice does nothing. */
export interface Timer {
  readonly at: number
  readonly cancel: () => void
}

interface Pending extends Timer {
  readonly sequence: number
  readonly run: () => void
  state: "pending" | "done"
}

const isBefore = (a: Pending, b: Pending): boolean => a.at < b.at || (a.at === b.at && a.sequence < b.sequence)

export class Timers {
  readonly #clock: Clock.Clock
  readonly #fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  /** A binary heap. Cancelled timers stay in it until they come to the top. */
  readonly #heap: Array<Pending> = []
  #sequence = 0
  #count = 0
  #sleeper: { readonly at: number; readonly fiber: Fiber.Fiber<void> } | undefined

  constructor(clock: Clock.Clock, context: Context.Context<never>) {
    this.#clock = clock
    this.#fork = Effect.runForkWith(context)
  }

  get now(): number {
    return this.#clock.currentTimeMillisUnsafe()
  }

  schedule(at: number, run: () => void): Timer {
    const timer: Pending = {
      at,
      sequence: this.#sequence++,
      run,
      state: "pending",
      cancel: () => {
        if (timer.state === "done") return
        timer.state = "done"
        this.#count--
        if (this.#count === 0) this.#sleepUntilNext()
      }
    }
    this.#count++
    this.#push(timer)
    this.#sleepUntilNext()
    return timer
  }

  cancelAll(): void {
    for (const timer of this.#heap.splice(0)) timer.state = "done"
    this.#count = 0
    this.#sleepUntilNext()
  }

  #sleepUntilNext(): void {
    while (this.#heap[0]?.state === "done") this.#pop()
    const next = this.#heap[0]
    if (next?.at === this.#sleeper?.at) return
    this.#sleeper?.fiber.interruptUnsafe()
    this.#sleeper = undefined
    if (next === undefined) return
    const wait = Effect.flatMap(
      Effect.sleep(Math.max(0, next.at - this.now)),
      () => Effect.sync(() => this.#fire(next.at))
    )
    this.#sleeper = { at: next.at, fiber: this.#fork(wait) }
  }

  #fire(at: number): void {
    this.#sleeper = undefined
    for (let next = this.#heap[0]; next !== undefined && next.at <= at; next = this.#heap[0]) {
      this.#pop()
      if (next.state === "done") continue
      next.state = "done"
      this.#count--
      next.run()
    }
    this.#sleepUntilNext()
  }

  #push(timer: Pending): void {
    const heap = this.#heap
    heap.push(timer)
    let i = heap.length - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!isBefore(timer, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = timer
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
  }
}
