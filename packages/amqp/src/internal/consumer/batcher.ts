/**
 * Gathers deliveries into batches. A batch is full at its size, or when its window is over, which begins with its first
 * delivery.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Delivery } from "../../AmqpDelivery.ts"

/** Deliveries of one channel, in their order. */
export type Batch = NonEmptyReadonlyArray<Delivery>

/** How a batch is gathered. */
export interface BatcherOptions {
  readonly size: number
  readonly now: () => number
  /** Calls back when the window is over; returns a function that stops it. */
  readonly startWindow: (onOver: () => void) => () => void
  readonly onBatch: (batch: Batch, arrivedAt: number) => void
}

/** Gathers one batch at a time. */
export class Batcher {
  readonly #options: BatcherOptions
  #batch: Array<Delivery> = []
  #arrivedAt = 0
  #stopWindow: (() => void) | undefined

  constructor(options: BatcherOptions) {
    this.#options = options
  }

  offer(delivery: Delivery): void {
    if (this.#batch.push(delivery) === 1) {
      this.#arrivedAt = this.#options.now()
      this.#stopWindow = this.#options.startWindow(() => this.#close())
    }
    if (this.#batch.length === this.#options.size) this.#close()
  }

  /** Forgets the deliveries that were gathered, and returns them. */
  forget(): ReadonlyArray<Delivery> {
    this.#stopWindow?.()
    return this.#batch.splice(0)
  }

  #close(): void {
    this.#stopWindow?.()
    const batch = this.#batch
    this.#batch = []
    const [first, ...rest] = batch
    if (first !== undefined) this.#options.onBatch([first, ...rest], this.#arrivedAt)
  }
}
