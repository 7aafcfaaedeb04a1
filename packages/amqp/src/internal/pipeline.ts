/**
 * Many messages by one fiber: a window of them is kept on its way, each has its own outcome, and the fiber sleeps while
 * the window is full. Plain synchronous code under one `Effect.callback` per filling of the window.
 */
import * as Effect from "effect/Effect"
import type { Message } from "../AmqpMessage.ts"
import type { BatchFailure } from "../PublishError.ts"
import { PublishError } from "../PublishError.ts"
import type { AfterCallback } from "./afterCallback.ts"
import type { Encoded } from "./encodeMessage.ts"
import type { Entry, Outcome, PublishQueue } from "./publishQueue.ts"

/** The messages of one batch or one stream. */
export class Pipeline {
  readonly #queue: PublishQueue
  readonly #window: number
  readonly #afterCallback: AfterCallback
  /** By position; only for messages whose outcome somebody wants to hear of by itself. */
  readonly #onOutcome = new Map<number, (error: PublishError | undefined) => void>()
  #pushed = 0
  #outstanding = 0
  #sleeper: { readonly isOver: () => boolean; readonly wake: () => void } | undefined
  confirmed = 0
  /** Failures that nobody has taken yet. */
  failures: Array<BatchFailure> = []

  constructor(queue: PublishQueue, window: number, afterCallback: AfterCallback) {
    this.#queue = queue
    this.#window = window
    this.#afterCallback = afterCallback
  }

  /**
   * Whether a message would have to wait: the window is full, or the queue could not write it. What waits is held by the
   * stream, and not by us.
   */
  get isFull(): boolean {
    return this.#outstanding >= this.#window || this.#queue.isBackedUp
  }

  /** Send a message on its way; one that cannot be encoded has failed already. */
  push(message: Message, encoded: Encoded | PublishError, onOutcome?: (error: PublishError | undefined) => void): void {
    const position = this.#pushed++
    if (encoded instanceof PublishError) {
      onOutcome?.(encoded)
      this.failures.push({ index: position, message, error: encoded })
      return
    }
    this.#outstanding++
    if (onOutcome !== undefined) this.#onOutcome.set(position, onOutcome)
    this.#queue.submit(encoded, this.#settled, position, message)
  }

  readonly #settled = (entry: Entry, outcome: Outcome): void => {
    this.#outstanding--
    let error: PublishError | undefined
    if (outcome === undefined) this.confirmed++
    else {
      error = new PublishError({ reason: outcome, messageId: entry.encoded.properties.messageId })
      this.failures.push({ index: entry.position, message: entry.message, error })
    }
    if (this.#onOutcome.size > 0) {
      this.#onOutcome.get(entry.position)?.(error)
      this.#onOutcome.delete(entry.position)
    }
    this.#wakeIfDue()
  }

  readonly #wakeIfDue = (): void => {
    const sleeper = this.#sleeper
    if (sleeper === undefined || !sleeper.isOver()) return
    this.#sleeper = undefined
    this.#afterCallback(sleeper.wake)
  }

  /** Sleep until a message can be pushed. */
  readonly room: Effect.Effect<void> = this.#sleepUntil(() => !this.isFull)

  /** Sleep until everything has its outcome. */
  readonly settled: Effect.Effect<void> = this.#sleepUntil(() => this.#outstanding === 0)

  #sleepUntil(isOver: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (isOver()) return resume(Effect.void)
      this.#sleeper = { isOver, wake: () => resume(Effect.void) }
      return Effect.sync(() => {
        this.#sleeper = undefined
      })
    })
  }

  /** Follow the queue from now on, until the returned function is called. */
  begin(): () => void {
    return this.#queue.onPumped(this.#wakeIfDue)
  }

  /** Nobody waits any more: what is not written is not sent, and the rest keeps its place until it is answered. */
  abandon(): void {
    this.#queue.abandonAll((entry) => entry.onSettled === this.#settled)
  }
}
