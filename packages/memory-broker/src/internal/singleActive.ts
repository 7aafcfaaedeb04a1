/**
 * A single active consumer: which of the consumers of a queue gets the messages.
 *
 * @see https://www.rabbitmq.com/docs/consumers#single-active-consumer
 */
import type { Consumer } from "./queue.ts"

type State =
  | { readonly _tag: "Nobody" }
  | { readonly _tag: "Active"; readonly consumer: Consumer }
  /** Another one of higher priority waits until this one has settled what it has. */
  | { readonly _tag: "Leaving"; readonly consumer: Consumer }

const nobody: State = { _tag: "Nobody" }

export class SingleActive {
  /** A waiting consumer of higher priority takes over from the active one. */
  readonly #handsOver: boolean
  /** The next one is that of the highest priority, and not the one that came first. */
  readonly #prefersPriority: boolean
  /** In the order in which they came. */
  readonly #consumers: Array<Consumer> = []
  #state: State = nobody

  constructor(rules: { readonly handsOver: boolean; readonly prefersPriority: boolean }) {
    this.#handsOver = rules.handsOver
    this.#prefersPriority = rules.prefersPriority
  }

  /** The consumer that may get the next message. */
  get receiver(): Consumer | undefined {
    return this.#state._tag === "Active" ? this.#state.consumer : undefined
  }

  add(consumer: Consumer): void {
    this.#consumers.push(consumer)
    if (this.#state._tag === "Nobody") this.#activate()
    else if (this.#handsOver && consumer.priority > this.#state.consumer.priority) {
      this.#state = { _tag: "Leaving", consumer: this.#state.consumer }
      this.settled(this.#state.consumer)
    }
  }

  remove(consumer: Consumer): void {
    const at = this.#consumers.indexOf(consumer)
    if (at !== -1) this.#consumers.splice(at, 1)
    if (this.#holder === consumer) this.#activate()
  }

  /** A consumer has settled some of its messages. */
  settled(consumer: Consumer): void {
    const hasLeft = this.#state._tag === "Leaving" && this.#state.consumer === consumer && consumer.unacked === 0
    if (hasLeft || this.#state._tag === "Nobody") this.#activate()
  }

  /** A consumer gets no messages until it has settled those that were taken back from it. */
  suspend(consumer: Consumer): void {
    if (this.#holder === consumer) this.#activate()
  }

  clear(): void {
    this.#consumers.length = 0
    this.#state = nobody
  }

  get #holder(): Consumer | undefined {
    return this.#state._tag === "Nobody" ? undefined : this.#state.consumer
  }

  #activate(): void {
    let best: Consumer | undefined
    for (const consumer of this.#consumers) {
      if (consumer.takenBack > 0) continue
      if (best === undefined || (this.#prefersPriority && consumer.priority > best.priority)) best = consumer
    }
    this.#state = best === undefined ? nobody : { _tag: "Active", consumer: best }
  }
}
