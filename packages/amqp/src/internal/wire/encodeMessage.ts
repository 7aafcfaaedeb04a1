/**
 * From a message as an application writes it to one that can be put on the wire; or what is wrong with it. Everything
 * that would make amqplib throw, or the broker close the channel, is refused here, before it can cost other messages
 * their outcome. Synchronous and allocation-poor, because every message passes.
 */
import type { WireMessage, WireProperties } from "../../AmqpDriver.ts"
import type { Headers, Message } from "../../AmqpMessage.ts"
import { describe } from "./describe.ts"
import { notWellFormed } from "./fieldSize.ts"
import { writeJson } from "./jsonBody.ts"
import { durationMillis, maxHeaderBytes, Refused, shortString, tableSize } from "./limits.ts"
import { isWellFormed } from "./strings.ts"
import { editTable } from "./tableEdit.ts"

/** A message for the wire, and what must be known to send it. */
export interface Encoded extends WireMessage {
  /** Bytes of the encoded header table, 0 without headers. */
  readonly headerBytes: number
}

const maxExpiration = 4294967295

const text = "text/plain; charset=utf-8"
const json = "application/json"

const optional = (field: string, value: unknown): Refused | undefined =>
  value === undefined ? undefined : shortString(field, value)

/** The broker closes the channel for headers that name more routes in any other way. */
const notRoutes = (key: "CC" | "BCC", value: unknown): Refused | undefined =>
  value === undefined || Array.isArray(value)
    ? undefined
    : new Refused(`headers.${key}`, `it is ${describe(value)}, and must be a list of routing keys`)

const filterValue = "x-stream-filter-value"
/** How an entry of a table begins whose value is a text. */
const textFilterValue = Buffer.from(`${String.fromCharCode(filterValue.length)}${filterValue}S`, "latin1")

/** RabbitMQ closes the connection for another one that comes into a stream. */
const notFilterValue = (detail: string): Refused =>
  new Refused(`headers.${filterValue}`, `${detail}, and must be a text, by which readers of a stream filter`)

const hasOtherFilterValue = (entries: Buffer): boolean => {
  const at = entries.indexOf(textFilterValue.subarray(0, -1))
  return at !== -1 && entries[at + textFilterValue.length - 1] !== textFilterValue.at(-1)
}

interface EncodedBody {
  readonly bytes: Uint8Array
  /** Of bytes nothing is known. */
  readonly contentType: string | undefined
}

const encodeBody = (body: unknown): EncodedBody | Refused => {
  if (typeof body === "string") {
    return isWellFormed(body)
      ? { bytes: Buffer.from(body), contentType: text }
      : new Refused("body", `it ${notWellFormed}`)
  }
  if (body instanceof Uint8Array) return { bytes: body, contentType: undefined }
  if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body), contentType: undefined }
  if (ArrayBuffer.isView(body)) {
    return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength), contentType: undefined }
  }
  const written = writeJson(body)
  return "refused" in written
    ? new Refused("body", written.refused)
    : { bytes: Buffer.from(written.text), contentType: json }
}

/**
 * Encodes a message. `messageId` is used if the message has none, and `headers` instead of its own.
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
    rawHeaders: undefined,
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
    if (Number.isNaN(seconds)) return new Refused("timestamp", "it must be a valid Date")
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
    const size = tableSize(headers, "headers")
    if (size instanceof Refused) return size
    if (size > maxHeaderBytes) {
      return new Refused("headers", `they need ${size} bytes, and may need at most ${maxHeaderBytes}; use the body`)
    }
    const refusedRoutes = notRoutes("CC", headers["CC"]) ?? notRoutes("BCC", headers["BCC"])
    if (refusedRoutes !== undefined) return refusedRoutes
    const filter = headers[filterValue]
    if (filter !== undefined && typeof filter !== "string") return notFilterValue(`it is ${describe(filter)}`)
    headerBytes = size
  }
  if (message.receivedHeaders !== undefined) {
    const { entries, leavesOut } = message.receivedHeaders
    const edited = editTable(entries, { add: headers ?? {}, remove: leavesOut })
    if (hasOtherFilterValue(edited)) return notFilterValue("it came as something else")
    properties.rawHeaders = edited
    headerBytes = 4 + edited.byteLength
    if (headerBytes > maxHeaderBytes) {
      return new Refused("headers", `they need ${headerBytes} bytes, and may need at most ${maxHeaderBytes}`)
    }
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
