/**
 * What dead-lettering makes of a message: pure functions over messages.
 *
 * @see https://www.rabbitmq.com/docs/dlx
 */
import type { Headers, HeaderValue } from "effect-amqp/AmqpMessage"
import type { Dialect } from "./brokerVersion.ts"
import type { Message } from "./message.ts"

/** Why a message left its queue unconsumed. */
export type DeathReason = "rejected" | "expired" | "maxlen" | "delivery_limit"

/** One entry of the `x-death` header. */
type Death = { readonly [key: string]: HeaderValue | undefined }

const isDeath = (value: HeaderValue): value is Death =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date) &&
  !(value instanceof Uint8Array)

/** Lists the deaths that the headers tell of, the latest first. */
export const deaths = (headers: Headers | undefined): ReadonlyArray<Death> => {
  const value = headers?.["x-death"]
  return Array.isArray(value) ? value.filter(isDeath) : []
}

const count = (death: Death): number => typeof death["count"] === "number" ? death["count"] : 0

/** Makes the message that goes to the dead letter exchange. */
export const bury = (message: Message, options: {
  readonly reason: DeathReason
  readonly queue: string
  readonly deadLetterExchange: string
  /** `x-dead-letter-routing-key`. Defaults to the keys of the message. */
  readonly deadLetterRoutingKey: string | undefined
  /** Milliseconds since 1970. */
  readonly now: number
  readonly dialect: Dialect
}): Message => {
  const { headers = {}, expiration, ...properties } = message.properties
  const before = deaths(headers)
  const same = before.find((death) => death["queue"] === options.queue && death["reason"] === options.reason)
  const others = before.filter((other) => other !== same)
  const death: Death = same !== undefined
    ? { ...same, count: count(same) + 1 }
    : {
      count: 1,
      reason: options.reason,
      queue: options.queue,
      time: new Date(Math.floor(options.now / 1000) * 1000),
      exchange: message.exchange,
      "routing-keys": [...message.routingKeys],
      ...(expiration === undefined ? {} : { "original-expiration": expiration })
    }
  const first = before.length === 0
    ? {
      "x-first-death-reason": options.reason,
      "x-first-death-queue": options.queue,
      "x-first-death-exchange": message.exchange
    }
    : {}
  const last = options.dialect.namesLastDeath
    ? {
      "x-last-death-reason": options.reason,
      "x-last-death-queue": options.queue,
      "x-last-death-exchange": message.exchange
    }
    : {}
  const { CC: _, ...withoutCc } = headers
  return {
    exchange: options.deadLetterExchange,
    routingKeys: options.deadLetterRoutingKey === undefined ? message.routingKeys : [options.deadLetterRoutingKey],
    properties: {
      ...properties,
      headers: {
        ...(options.deadLetterRoutingKey === undefined || options.dialect.keepsCc ? headers : withoutCc),
        ...first,
        ...last,
        "x-death": [death, ...(options.dialect.reversesDeaths ? others.toReversed() : others)]
      }
    },
    body: message.body
  }
}

/** Tells if the message has been in this queue before and was not rejected since: it would go round for ever. */
export const isCycle = (message: Message, queue: string): boolean => {
  const all = deaths(message.properties.headers)
  const last = all.findIndex((death) => death["queue"] === queue)
  return last !== -1 && all.slice(0, last + 1).every((death) => death["reason"] !== "rejected")
}
