/**
 * Many messages by one fiber: a window of them is kept on its way, each has its own outcome, and the fiber sleeps while
 * the window is full. Plain synchronous code under one `Effect.callback` per filling of the window.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Message } from "../../AmqpMessage.ts"
import type { BatchFailure } from "../../PublishError.ts"
import { PublishError } from "../../PublishError.ts"
import type { WakeLater } from "../wakeLater.ts"
import type { Encoded } from "../wire/encodeMessage.ts"
import type { Entry, Outcome } from "./entry.ts"
import type { PublishQueue } from "./queue.ts"

/** How a message ended, for whoever wants to hear of it by itself; interrupted if nobody waits any more. */
export type OnOutcome = (exit: Exit.Exit<void, PublishError>) => void

/** Where a pipeline puts its messages. */
export type PipelineQueue = Pick<PublishQueue, "submit" | "abandonAll" | "onPumped">

interface Sleeper {
  readonly isOver: () => boolean
  readonly wake: () => void
}

/** The messages of one batch or one stream. */
export class Pipeline {
  readonly #queue: PipelineQueue
  readonly #window: number
  readonly #wakeLater: WakeLater
  /** By position. */
  readonly #onOutcome = new Map<number, OnOutcome>()
  #pushed = 0
  #outstanding = 0
  #last: Entry | undefined
  readonly #sleepers = new Set<Sleeper>()
  confirmed = 0
  /** Failures that nobody has taken yet. */
  failures: Array<BatchFailure> = []

  constructor(queue: PipelineQueue, window: number, wakeLater: WakeLater) {
    this.#queue = queue
    this.#window = window
    this.#wakeLater = wakeLater
  }

  /**
   * Whether the next message has to wait: the window is full, or the last one could not be written yet. That one waits
   * in the queue, so that it has its turn among the messages of others, and its deadline; the rest is not held by us.
   */
  get isFull(): boolean {
    return this.#outstanding >= this.#window || this.#last?.state === "Waiting"
  }

  /** Send a message on its way; one that cannot be encoded has failed already. */
  push(message: Message, encoded: Encoded | PublishError, onOutcome?: OnOutcome): void {
    const position = this.#pushed++
    if (encoded instanceof PublishError) {
      onOutcome?.(Exit.fail(encoded))
      this.failures.push({ index: position, message, error: encoded })
      this.#wakeIfDue()
      return
    }
    this.#outstanding++
    if (onOutcome !== undefined) this.#onOutcome.set(position, onOutcome)
    const entry = this.#queue.submit(encoded, this.#settled, position, message)
    this.#last = entry.state === "Settled" ? undefined : entry
  }

  readonly #settled = (entry: Entry, outcome: Outcome): void => {
    this.#outstanding--
    if (entry === this.#last) this.#last = undefined
    let error: PublishError | undefined
    if (outcome === undefined) this.confirmed++
    else {
      error = new PublishError({ reason: outcome, messageId: entry.encoded.properties.messageId })
      this.failures.push({ index: entry.position, message: entry.message, error })
    }
    const onOutcome = this.#onOutcome.get(entry.position)
    if (onOutcome !== undefined) {
      this.#onOutcome.delete(entry.position)
      this.#wakeLater(() => onOutcome(error === undefined ? Exit.void : Exit.fail(error)))
    }
    this.#wakeIfDue()
  }

  readonly #wakeIfDue = (): void => {
    for (const sleeper of this.#sleepers) {
      if (!sleeper.isOver()) continue
      this.#sleepers.delete(sleeper)
      this.#wakeLater(sleeper.wake)
    }
  }

  /** Sleep until a message can be pushed. */
  readonly room: Effect.Effect<void> = this.#sleepUntil(() => !this.isFull)

  /** Sleep until everything has its outcome. */
  readonly settled: Effect.Effect<void> = this.#sleepUntil(() => this.#outstanding === 0)

  /** Sleep until there is a failure that nobody has taken. */
  readonly failed: Effect.Effect<void> = this.#sleepUntil(() => this.failures.length > 0)

  #sleepUntil(isOver: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (isOver()) return resume(Effect.void)
      const sleeper: Sleeper = { isOver, wake: () => resume(Effect.void) }
      this.#sleepers.add(sleeper)
      return Effect.sync(() => {
        this.#sleepers.delete(sleeper)
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
    for (const onOutcome of this.#onOutcome.values()) onOutcome(Exit.interrupt())
    this.#onOutcome.clear()
  }
}
