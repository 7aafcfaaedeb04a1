/** The work of every contender of the consume benchmark: take messages out of a queue, and acknowledge each. */

/** The queue to consume from, and the options. */
export interface Load {
  readonly url: string
  readonly queue: string
  readonly prefetch: number
  /** The largest number of handlers at once, for clients that have such an option. */
  readonly concurrency: number
}

/** A contender that is connected. */
export interface Consumer {
  /**
   * Starts to consume, and resolves when `count` messages were handled and acknowledged, with a function that stops it.
   */
  readonly consume: (count: number) => Promise<() => Promise<void>>
  readonly close: () => Promise<void>
}

/** One way to consume. */
export interface Contender {
  readonly open: (load: Load) => Promise<Consumer>
}
