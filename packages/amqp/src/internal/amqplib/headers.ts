/**
 * Header tables, properties and deliveries, between the forms that amqplib and the port give them.
 */
import type { Message as AmqplibMessage } from "amqplib"
import type { DriverDelivery, WireProperties } from "../../AmqpDriver.ts"
import type { Headers, HeaderValue } from "../../AmqpMessage.ts"

/** Views bytes as a `Buffer`, which is what amqplib takes. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Encodes the headers among the properties of a message. */
export const wireProperties = (properties: WireProperties): WireProperties => {
  const headers = properties.headers
  if (headers === undefined) return properties
  const encoded = encodeHeaders(headers)
  return encoded === headers ? properties : { ...properties, headers: encoded }
}

/**
 * Encodes a table as amqplib wants it: timestamps tagged, byte strings as `Buffer`. A table of plain values is passed as
 * it is.
 */
export const encodeHeaders = (headers: Headers): Headers => {
  for (const key in headers) {
    const value = headers[key]
    if (typeof value === "object" && value !== null) return encodeTable(headers)
  }
  return headers
}

const encodeTable = (table: { readonly [key: string]: HeaderValue | undefined }): Headers => {
  const encoded = Object.create(null) as Record<string, unknown>
  for (const key of Object.keys(table)) encoded[key] = encodeValue(table[key])
  return encoded as Headers
}

const encodeValue = (value: HeaderValue | undefined): unknown => {
  if (typeof value !== "object" || value === null) return value
  if (value instanceof Date) return { "!": "timestamp", value: Math.floor(value.getTime() / 1000) }
  if (value instanceof Uint8Array) return asBuffer(value)
  return Array.isArray(value) ? value.map(encodeValue) : encodeTable(value as Headers)
}

const decodeValue = (value: unknown): HeaderValue => {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value as HeaderValue
  if (Array.isArray(value)) return value.map(decodeValue)
  // A table of another client may have the key "!" as well, and an error thrown here costs the consumer its channel at
  // each delivery of the message.
  const tagged = value as { readonly "!"?: unknown; readonly value?: unknown }
  if (tagged["!"] === "timestamp" && typeof tagged.value === "number") return new Date(tagged.value * 1000)
  if (tagged["!"] === "decimal" && typeof tagged.value === "object" && tagged.value !== null) {
    const decimal = tagged.value as { readonly places: number; readonly digits: number }
    return decimal.digits / 10 ** decimal.places
  }
  return decodeTable(value as Record<string, unknown>)
}

const decodeTable = (table: Record<string, unknown>): Headers => {
  const decoded = Object.create(null) as Record<string, HeaderValue>
  for (const key of Object.keys(table)) decoded[key] = decodeValue(table[key])
  return decoded
}

/** Reads a message of amqplib. */
export const toDelivery = (message: AmqplibMessage): DriverDelivery => {
  const properties = message.properties
  return {
    deliveryTag: message.fields.deliveryTag,
    redelivered: message.fields.redelivered,
    exchange: message.fields.exchange,
    routingKey: message.fields.routingKey,
    properties: {
      ...properties as unknown as WireProperties,
      headers: properties.headers === undefined ? undefined : decodeTable(properties.headers)
    },
    body: message.content
  }
}
