/**
 * One message on its way through a publisher, and how it ends.
 */
import type { DriverReturn } from "../../AmqpDriver.ts"
import type { PublishErrorReason, WaitingFor } from "../../PublishError.ts"
import type { Encoded } from "../wire/encodeMessage.ts"

/** How a message ended: confirmed, or the reason why not. */
export type Outcome = PublishErrorReason | undefined

/** Whoever waits for a message. */
export interface Owner {
  /** Hears how the message ended; called once, by the roster. */
  readonly settled: (outcome: Outcome, entry: Entry) => void
}

/** Where a message is until it is settled. */
export interface Holder {
  /** Lets go of a message whose owner waits no more; what is in flight keeps its place until the broker has answered. */
  readonly release: (entry: Entry) => void
  /** Says what the message waits for. */
  readonly waitingFor: (entry: Entry) => WaitingFor
  /** Writes what may be written. */
  readonly pump: () => void
}

/**
 * Where a message stands: it waits to be written; it is in flight, waited for or abandoned; it rests after a nack; or it
 * is settled.
 */
export type EntryState = "Waiting" | "InFlight" | "Abandoned" | "Resting" | "Settled"

/**
 * What a message is suspected of by itself. A close that has another message for its known cause weighs 1, a close of
 * unknown cause 2. From 2 on the message goes alone.
 */
export interface Suspicion {
  readonly weight: number
  /** What messages have in common that a broker can be expected to judge alike. */
  readonly likes: string
}

/** One message on its way. */
export interface Entry {
  readonly encoded: Encoded
  readonly owner: Owner
  holder: Holder
  state: EntryState
  /** What it occupies, in bytes. */
  readonly bytes: number
  readonly submittedAt: number
  /** When it was written last. */
  writtenAt: number
  /** How often it was written; more than 0 and not confirmed means that the broker may have it. */
  written: number
  /** How often it was nacked, and on which channel last. */
  nacked: { readonly times: number; readonly on: object } | undefined
  returned: DriverReturn | undefined
  /** A return that may be this message's or that of another with the same id, exchange and routing key. */
  maybeReturned: DriverReturn | undefined
  /** Set when channels were closed while it was in flight, and the cause may be this message. */
  suspicion: Suspicion | undefined
  /** Its neighbours in the order of submission, as long as its owner waits. */
  older: Entry | undefined
  newer: Entry | undefined
}

// What a message occupies beside its body and headers, in bytes.
const overhead = 256

/** Makes the entry of a message that is submitted now. */
export const make = (encoded: Encoded, owner: Owner, holder: Holder, now: number): Entry => ({
  encoded,
  owner,
  holder,
  state: "Waiting",
  bytes: encoded.body.byteLength + encoded.headerBytes + overhead,
  submittedAt: now,
  writtenAt: 0,
  written: 0,
  nacked: undefined,
  returned: undefined,
  maybeReturned: undefined,
  suspicion: undefined,
  older: undefined,
  newer: undefined
})
