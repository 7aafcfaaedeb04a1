/**
 * What every contender of the publish benchmark does: publish the same message to the same queue over one connection,
 * with a number of them unconfirmed at any time.
 */

/** What to publish, where to, and how many at a time. */
export interface Load {
  readonly url: string
  readonly queue: string
  readonly bodyBytes: number
  readonly inFlight: number
}

/** Told of each message by its number, in the order of publishing. */
export interface Timeline {
  readonly written: (index: number) => void
  readonly confirmed: (index: number) => void
}

/** A contender that is connected. */
export interface Publisher {
  /** Publish so many, and resolve when the last one is confirmed. Rejects if one is not. */
  readonly publish: (count: number, timeline?: Timeline) => Promise<void>
  readonly close: () => Promise<void>
}

/** One way to publish. */
export interface Contender {
  readonly open: (load: Load) => Promise<Publisher>
}

/** The body that all contenders publish: bytes that do not compress into anything special. */
export const bodyOf = (load: Load): Buffer => Buffer.alloc(load.bodyBytes, "effect-amqp ")
