/**
 * The work of every contender of the publish benchmark: publish the same message to the same queue over one connection,
 * with a window of unconfirmed messages.
 */

/** The message, its queue, and the window. */
export interface Load {
  readonly url: string
  readonly queue: string
  readonly bodyBytes: number
  readonly inFlight: number
}

/** Called for each message with its number, in the order of publishing. */
export interface Timeline {
  readonly written: (index: number) => void
  readonly confirmed: (index: number) => void
}

/** A contender that is connected. */
export interface Publisher {
  /** Publishes `count` messages, and resolves when the last one is confirmed. Rejects if one is not. */
  readonly publish: (count: number, timeline?: Timeline) => Promise<void>
  readonly close: () => Promise<void>
}

/** One way to publish. */
export interface Contender {
  readonly open: (load: Load) => Promise<Publisher>
}

/** The body that all contenders publish: bytes that compress badly. */
export const bodyOf = (load: Load): Buffer => Buffer.alloc(load.bodyBytes, "effect-amqp ")
