/** What every contender of the consume benchmark does: take messages out of a queue, and acknowledge each. */

/** Where to consume, and how. */
export interface Load {
  readonly url: string
  readonly queue: string
  readonly prefetch: number
  /** Handlers at once, where the client has a say in that. */
  readonly concurrency: number
}

/** A contender that is connected. */
export interface Consumer {
  /** Start consuming, and resolve when so many were handled and acknowledged, with what stops it. */
  readonly consume: (count: number) => Promise<() => Promise<void>>
  readonly close: () => Promise<void>
}

/** One way to consume. */
export interface Contender {
  readonly open: (load: Load) => Promise<Consumer>
}
