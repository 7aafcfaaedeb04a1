/**
 * Whose fault it is that the broker closed a channel, and which messages would have the next one closed too.
 */
import type { AmqpError } from "../../AmqpError.ts"
import type { Published, PublishErrorReason } from "../../PublishError.ts"
import * as PublishError from "../../PublishError.ts"
import type { Encoded } from "../wire/encodeMessage.ts"
import { exchangeLabel } from "../wire/exchangeLabel.ts"

/** What a broker closed a channel for. */
export interface Blame {
  /** Whether a message can be the one. */
  readonly fits: (encoded: Encoded) => boolean
  /** How such a message fails. */
  readonly outcome: (encoded: Encoded, published: Published) => PublishErrorReason
  /** What such messages have in common: a key of {@link keysOf}, or more bytes than this. */
  readonly common: string | number
}

const exchangeInText = /exchange '(.*?)' in vhost/s
const topicInText = /access to topic '(.*?)' in exchange/s
const sizeInText = /message size (\d+) .*?max(?:imum)? size (\d+)/s

const topicKey = (exchange: string, routingKey: string): string => `${exchange}\0${routingKey}`

/** What can be wrong with a message in the eyes of the broker. */
const keysOf = ({ exchange, routingKey }: Encoded): readonly [string, string] => [
  exchangeLabel(exchange),
  topicKey(exchangeLabel(exchange), routingKey)
]

/** Read a channel's end; nothing if no message was to blame. */
export const blameOf = ({ reason }: AmqpError): Blame | undefined => {
  if (reason._tag === "NotFound" && reason.entity === "exchange") {
    return {
      fits: ({ exchange }) => exchange === reason.entityName,
      outcome: (_, published) => new PublishError.ExchangeNotFound({ published, exchange: reason.entityName }),
      common: reason.entityName
    }
  }
  if (reason._tag === "AccessRefused") {
    const refused = exchangeInText.exec(reason.replyText)?.[1]
    if (refused === undefined) return undefined
    const topic = topicInText.exec(reason.replyText)?.[1]
    return {
      fits: ({ exchange, routingKey }) =>
        exchangeLabel(exchange) === refused && (topic === undefined || topic === routingKey),
      outcome: ({ exchange }, published) =>
        new PublishError.AccessRefused({ published, exchange, replyText: reason.replyText }),
      common: topic === undefined ? refused : topicKey(refused, topic)
    }
  }
  if (reason._tag === "ChannelClosed") {
    const limit = Number(sizeInText.exec(reason.replyText)?.[2] ?? NaN)
    if (Number.isNaN(limit)) return undefined
    return {
      fits: ({ body }) => body.byteLength > limit,
      outcome: ({ body }, published) => new PublishError.TooLarge({ published, bytes: body.byteLength, limit }),
      common: limit
    }
  }
  return undefined
}

// Names without an end are remembered up to here; a message of one that was forgotten is suspected again in its turn.
const maxKeys = 1000

/** Messages like those that a channel was closed for, until the broker takes one of them. */
export class Suspects {
  readonly #keys = new Set<string>()
  #limit = Infinity

  /** Whether there are any, because they are looked for before each write. */
  get isEmpty(): boolean {
    return this.#keys.size === 0 && this.#limit === Infinity
  }

  add({ common }: Blame): void {
    if (typeof common === "number") {
      this.#limit = common
      return
    }
    this.#keys.add(common)
    const [oldest] = this.#keys
    if (this.#keys.size > maxKeys) this.#keys.delete(oldest!)
  }

  has(encoded: Encoded): boolean {
    return keysOf(encoded).some((key) => this.#keys.has(key)) || encoded.body.byteLength > this.#limit
  }

  /** The broker took this one. */
  clear(encoded: Encoded): void {
    for (const key of keysOf(encoded)) this.#keys.delete(key)
    if (encoded.body.byteLength > this.#limit) this.#limit = Infinity
  }
}
