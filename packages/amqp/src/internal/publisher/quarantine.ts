/**
 * Quarantine: messages that may have a channel closed go through a channel of their own, one at a time, so that they take
 * no other message with them.
 *
 * A message is in quarantine for what others like it did, until the broker takes one of them; or because channels were
 * closed while it was in flight and the cause is not known, until the broker takes it, or one like it.
 */
import type { Encoded } from "../wire/encodeMessage.ts"
import { exchangeLabel } from "../wire/exchangeLabel.ts"
import type { Entry, Suspicion } from "./entry.ts"

/** What messages like one have in common: a name of {@link kindsOf}, or more bytes than this. */
export type Kind = string | number

/** Names the messages to an exchange. */
export const ofExchange = (exchange: string): Kind => `exchange ${exchangeLabel(exchange)}`

/** Names the messages to an exchange with a routing key. */
export const ofTopic = (exchange: string, routingKey: string): Kind => `topic ${exchangeLabel(exchange)}\0${routingKey}`

/** Names the messages with the user id of somebody else. */
export const ofUser = (userId: string): Kind => `user ${userId}`

/**
 * Names the messages that a broker can be expected to judge alike: all that it reads of a message is the same, but for
 * the exact size.
 */
export const ofLikes = ({ body, exchange, headerBytes, properties, routingKey }: Encoded): string =>
  [
    "likes",
    exchange,
    routingKey,
    32 - Math.clz32(body.byteLength),
    32 - Math.clz32(headerBytes),
    properties.headers === undefined ? "" : Object.keys(properties.headers).join(","),
    properties.userId,
    properties.expiration,
    properties.priority,
    properties.deliveryMode
  ].join("\0")

const kindsOf = (encoded: Encoded): ReadonlyArray<Kind> => {
  const { exchange, properties: { userId }, routingKey } = encoded
  const kinds = [ofExchange(exchange), ofTopic(exchange, routingKey), ofLikes(encoded)]
  if (userId !== undefined) kinds.push(ofUser(userId))
  return kinds
}

// Names without an end are remembered up to here; a message of one that was forgotten is found again in its turn.
const maxKinds = 1000

/** Remembers what messages had a channel closed, until the broker takes one like them. */
export class RefusedKinds {
  readonly #kinds = new Set<Kind>()
  #limit = Infinity

  /** Tells if nothing is remembered, because this is asked before each write. */
  get isEmpty(): boolean {
    return this.#kinds.size === 0 && this.#limit === Infinity
  }

  add(kind: Kind): void {
    if (typeof kind === "number") {
      this.#limit = kind
      return
    }
    this.#kinds.add(kind)
    const [oldest] = this.#kinds
    if (this.#kinds.size > maxKinds) this.#kinds.delete(oldest!)
  }

  has(encoded: Encoded): boolean {
    return encoded.body.byteLength > this.#limit || kindsOf(encoded).some((kind) => this.#kinds.has(kind))
  }

  /** Forgets what the broker has taken a message of. */
  clear(encoded: Encoded): void {
    for (const kind of kindsOf(encoded)) this.#kinds.delete(kind)
    if (encoded.body.byteLength > this.#limit) this.#limit = Infinity
  }
}

const aloneFrom = 2

/** Adds a close to what a message is suspected of. */
export const suspect = (entry: Entry, weight: 1 | 2): Suspicion => ({
  weight: (entry.suspicion?.weight ?? 0) + weight,
  likes: entry.suspicion?.likes ?? ofLikes(entry.encoded)
})

/** Tells if a message must go alone because of closes while it was in flight. */
export const isSuspect = ({ suspicion }: Entry): boolean => suspicion !== undefined && suspicion.weight >= aloneFrom

/** Tells if so many ends found a message in flight that something else under way each time is no excuse. */
export const wasTriedOften = ({ suspicion }: Entry): boolean => suspicion !== undefined && suspicion.weight > aloneFrom

/**
 * Frees from suspicion those like a message that the broker has taken. Only once: if a channel is closed while they are
 * in flight together, each of them goes alone to the end.
 */
export const absolveLikes = (taken: Suspicion | undefined, others: ReadonlyArray<Entry>): void => {
  if (taken?.weight !== aloneFrom) return
  for (const other of others) {
    if (other.suspicion?.weight !== aloneFrom || other.suspicion.likes !== taken.likes) continue
    other.suspicion = { weight: 1, likes: taken.likes }
  }
}

// How long others wait for the answer to a message that is sent alone, in milliseconds.
const aloneMillis = 1000

/** Decides when the messages of the quarantine's channel may be written: each one that must go alone, alone. */
export class Turns {
  /** The message in flight that must be alone there. */
  #alone: Entry | undefined
  #writtenAt = 0

  /** When the message may be written, if that is not now; `isQuiet` tells that nobody waits for anything in flight. */
  heldUntil(mustBeAlone: boolean, isQuiet: boolean, now: number): number | undefined {
    const since = mustBeAlone ? (isQuiet ? undefined : this.#writtenAt) : this.#alone?.writtenAt
    return since === undefined || now - since >= aloneMillis ? undefined : since + aloneMillis
  }

  written(entry: Entry, mustBeAlone: boolean): void {
    this.#writtenAt = entry.writtenAt
    if (mustBeAlone) this.#alone = entry
  }

  answered(entry: Entry): void {
    if (entry === this.#alone) this.#alone = undefined
  }

  /** Begins anew with another channel. */
  reset(): void {
    this.#alone = undefined
  }
}
