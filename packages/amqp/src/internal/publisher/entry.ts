/**
 * One message on its way through a publisher, and how it ends.
 */
import type { DriverReturn } from "../../AmqpDriver.ts"
import type { Message } from "../../AmqpMessage.ts"
import type { PublishErrorReason } from "../../PublishError.ts"
import type { Encoded } from "../wire/encodeMessage.ts"

/** How a message ended: confirmed, or the reason why not. */
export type Outcome = PublishErrorReason | undefined

/** One message on its way. */
export interface Entry {
  readonly encoded: Encoded
  /** Told once, by `#settle` only. */
  readonly onSettled: (entry: Entry, outcome: Outcome) => void
  /** The message as the application gave it, and its place among its owner's messages. */
  readonly message: Message
  readonly position: number
  state: "Waiting" | "InFlight" | "Resting" | "Settled"
  /** What it occupies. */
  readonly bytes: number
  readonly submittedAt: number
  /** When it was written last. */
  writtenAt: number
  /** How often it was written; more than 0 and not confirmed means that the broker may have it. */
  written: number
  /** Its owner waits no more, and the broker's answer is still to come. */
  abandoned: boolean
  nacks: number
  /** The channel, by number, on which it was nacked last. */
  nackedOn: number
  returned: DriverReturn | undefined
  /** Its neighbours in the order of submission, as long as its owner waits. */
  older: Entry | undefined
  newer: Entry | undefined
}
