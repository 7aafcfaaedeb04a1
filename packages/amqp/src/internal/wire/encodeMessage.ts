/**
 * From a message as an application writes it to one that can be put on the wire; or what is wrong with it. Everything
 * that would make amqplib throw, or the broker close the channel, is refused here, before it can cost other messages
 * their outcome. Synchronous and allocation-poor, because every message passes.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { WireMessage, WireProperties } from "../../AmqpDriver.ts"
import type { Headers, HeaderValue, Message } from "../../AmqpMessage.ts"

/** A field that cannot be sent, and why. */
export class Refused {
  readonly field: string
  readonly detail: string
  constructor(field: string, detail: string) {
    this.field = field
    this.detail = detail
  }
}

/** A message for the wire, and what must be known to send it. */
export interface Encoded extends WireMessage {
  /** Bytes of the encoded header table, 0 without headers. */
  readonly headerBytes: number
}

const maxShortString = 255
/** amqplib encodes a header table into a buffer of this size. */
export const maxHeaderBytes = 65536
/** The most that all properties but the headers can need in the header frame. */
export const maxPropertyBytes = 2400
const maxDepth = 32
const maxExpiration = 4294967295

const text = "text/plain; charset=utf-8"
const json = "application/json"

const shortString = (field: string, value: unknown): Refused | undefined => {
  if (typeof value !== "string") return new Refused(field, `it is ${describe(value)}, and must be a string`)
  // No UTF-16 code unit needs more than three bytes.
  if (value.length > maxShortString / 3 && Buffer.byteLength(value) > maxShortString) {
    return new Refused(field, `it has ${Buffer.byteLength(value)} bytes in UTF-8, and may have at most 255`)
  }
  return undefined
}

const optional = (field: string, value: unknown): Refused | undefined =>
  value === undefined ? undefined : shortString(field, value)

const describe = (value: unknown): string =>
  value === null
    ? "null"
    : Array.isArray(value)
    ? "an array"
    : value === undefined
    ? "missing"
    : typeof value === "object"
    ? "an object"
    : `a ${typeof value}`

/** The broker closes the channel for headers that name more routes in any other way. */
const notRoutes = (key: "CC" | "BCC", value: unknown): Refused | undefined =>
  value === undefined || Array.isArray(value)
    ? undefined
    : new Refused(`headers.${key}`, `it is ${describe(value)}, and must be a list of routing keys`)

/** NaN for what is no duration; `Duration` itself takes the number NaN for none at all. */
export const durationMillis = (input: Duration.Input): number =>
  Number.isNaN(input)
    ? NaN
    : Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })

/** Check the name of an exchange or queue, or a routing key. */
export const checkName = shortString

interface EncodedBody {
  readonly bytes: Uint8Array
  /** Of bytes nothing is known. */
  readonly contentType: string | undefined
}

const encodeBody = (body: unknown): EncodedBody | Refused => {
  if (typeof body === "string") return { bytes: Buffer.from(body), contentType: text }
  if (body instanceof Uint8Array) return { bytes: body, contentType: undefined }
  if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body), contentType: undefined }
  if (ArrayBuffer.isView(body)) {
    return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength), contentType: undefined }
  }
  let encoded: string | undefined
  try {
    encoded = JSON.stringify(body)
  } catch (error) {
    return new Refused("body", `it cannot be written as JSON (${error instanceof Error ? error.message : error})`)
  }
  return encoded === undefined
    ? new Refused("body", `it is ${describe(body)}; pass a string, bytes, or a value that JSON can express`)
    : { bytes: Buffer.from(encoded), contentType: json }
}

/**
 * Encode a message. `messageId` is used if the message has none, and `headers` instead of its own.
 */
export const encode = (
  message: Message,
  messageId: () => string,
  headers: Headers | undefined = message.headers
): Encoded | Refused => {
  const exchange = message.exchange === undefined
    ? ""
    : typeof message.exchange === "object" && message.exchange !== null
    ? message.exchange.name
    : message.exchange
  const name = shortString("exchange", exchange) ?? shortString("routingKey", message.routingKey)
  if (name !== undefined) return name
  const body = encodeBody(message.body)
  if (body instanceof Refused) return body
  const properties: Mutable<WireProperties> = {
    contentType: message.contentType ?? body.contentType,
    contentEncoding: message.contentEncoding,
    headers,
    deliveryMode: message.persistent === false ? 1 : 2,
    priority: message.priority,
    correlationId: message.correlationId,
    replyTo: message.replyTo,
    expiration: undefined,
    messageId: message.messageId ?? messageId(),
    timestamp: undefined,
    type: message.type,
    userId: message.userId,
    appId: message.appId
  }
  const refused = optional("contentType", message.contentType) ??
    optional("contentEncoding", message.contentEncoding) ??
    optional("correlationId", message.correlationId) ??
    optional("replyTo", message.replyTo) ??
    optional("messageId", message.messageId) ??
    optional("type", message.type) ??
    optional("userId", message.userId) ??
    optional("appId", message.appId)
  if (refused !== undefined) return refused
  const { expiration, priority, replyTo, timestamp } = message
  if (replyTo === "amq.rabbitmq.reply-to") {
    return new Refused(
      "replyTo",
      "nothing reads direct replies on a publisher's channel; name a queue that you consume"
    )
  }
  if (priority !== undefined && !(Number.isInteger(priority) && priority >= 0 && priority <= 255)) {
    return new Refused("priority", `${priority} is not a whole number from 0 to 255`)
  }
  if (timestamp !== undefined) {
    const seconds = timestamp instanceof Date ? Math.floor(timestamp.getTime() / 1000) : NaN
    if (!(seconds >= 0)) return new Refused("timestamp", "it must be a valid Date of 1970 or later")
    properties.timestamp = seconds
  }
  if (expiration !== undefined) {
    const millis = durationMillis(expiration)
    if (!(millis >= 0 && millis <= maxExpiration)) {
      return new Refused("expiration", `it must be a duration from 0 to ${maxExpiration} milliseconds (49.7 days)`)
    }
    properties.expiration = String(Math.ceil(millis))
  }
  let headerBytes = 0
  if (headers !== undefined) {
    const size = tableSize(headers, "headers", 0)
    if (size instanceof Refused) return size
    if (size > maxHeaderBytes) {
      return new Refused("headers", `they need ${size} bytes, and may need at most ${maxHeaderBytes}; use the body`)
    }
    const refusedRoutes = notRoutes("CC", headers["CC"]) ?? notRoutes("BCC", headers["BCC"])
    if (refusedRoutes !== undefined) return refusedRoutes
    headerBytes = size
  }
  return {
    exchange,
    routingKey: message.routingKey,
    mandatory: message.mandatory !== false,
    properties,
    body: body.bytes,
    headerBytes
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** How many bytes a header table needs on the wire, or which entry of it cannot be sent. */
export const tableSize = (
  table: Headers | { readonly [key: string]: HeaderValue | undefined },
  path: string,
  depth: number
): number | Refused => {
  if (typeof table !== "object" || table === null || Array.isArray(table)) {
    return new Refused(path, `it is ${describe(table)}, and must be an object`)
  }
  let size = 4
  for (const key of Object.keys(table)) {
    const value = table[key]
    if (value === undefined) continue
    const keyBytes = Buffer.byteLength(key)
    if (keyBytes > maxShortString) {
      return new Refused(path, `a key of it has ${keyBytes} bytes in UTF-8, and may have at most 255`)
    }
    const valueBytes = valueSize(value, `${path}.${key}`, depth + 1)
    if (valueBytes instanceof Refused) return valueBytes
    size += 1 + keyBytes + valueBytes
  }
  return size
}

const valueSize = (value: HeaderValue, path: string, depth: number): number | Refused => {
  switch (typeof value) {
    case "string":
      return 5 + Buffer.byteLength(value)
    case "boolean":
      return 2
    case "number":
      // The widest number has eight bytes; the exact width does not matter for a limit.
      return Number.isFinite(value) ? 9 : new Refused(path, `${value} cannot be sent; use a finite number`)
    case "object": {
      if (value === null) return 1
      if (depth > maxDepth) return new Refused(path, `it is nested more than ${maxDepth} levels deep, or in a circle`)
      if (value instanceof Uint8Array) return 5 + value.byteLength
      if (value instanceof Date) {
        return value.getTime() >= 0 ? 9 : new Refused(path, "it must be a valid Date of 1970 or later")
      }
      if (!Array.isArray(value)) {
        if ("!" in value) return new Refused(path, `the key "!" is reserved; use a Date for a timestamp`)
        const size = tableSize(value as Headers, path, depth)
        return size instanceof Refused ? size : 1 + size
      }
      let size = 5
      for (let i = 0; i < value.length; i++) {
        const element = valueSize(value[i] as HeaderValue, `${path}[${i}]`, depth + 1)
        if (element instanceof Refused) return element
        size += element
      }
      return size
    }
    default:
      return new Refused(
        path,
        `it is ${describe(value)}; a header is a string, number, boolean, Date, bytes, or a list ` +
          "or table of these"
      )
  }
}
