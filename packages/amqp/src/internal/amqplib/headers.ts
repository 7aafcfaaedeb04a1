/**
 * The arguments of declarations and bindings in the form that amqplib encodes.
 */
import type { Headers, HeaderValue } from "../../AmqpMessage.ts"
import { TypedNumber } from "../typedNumber.ts"

/** Views bytes as a `Buffer`, which is what amqplib takes. */
const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * Encodes a table as amqplib wants it: timestamps tagged, byte strings as `Buffer`. A table of plain values is passed as
 * it is.
 */
export const encodeHeaders = (headers: Headers): Headers => {
  for (const key in headers) {
    const value = headers[key]
    if (typeof value === "bigint" || typeof value === "object" && value !== null) return encodeTable(headers)
  }
  return headers
}

const encodeTable = (table: { readonly [key: string]: HeaderValue | undefined }): Headers => {
  const encoded = Object.create(null) as Record<string, unknown>
  for (const key of Object.keys(table)) encoded[key] = encodeValue(table[key])
  return encoded as Headers
}

const encodeValue = (value: HeaderValue | undefined): unknown => {
  if (typeof value === "bigint") return { "!": "int64", value }
  if (typeof value !== "object" || value === null) return value
  if (value instanceof TypedNumber) return encodeNumber(value)
  if (value instanceof Date) return { "!": "timestamp", value: Math.floor(value.getTime() / 1000) }
  if (value instanceof Uint8Array) return asBuffer(value)
  return Array.isArray(value) ? value.map(encodeValue) : encodeTable(value as Headers)
}

const encodeNumber = ({ places, type, value }: TypedNumber): unknown =>
  type === "decimal"
    ? { "!": "decimal", value: { places, digits: Number(value) } }
    : {
      "!": type === "float32" ? "float" : type,
      value: type === "int64" || type === "timestamp" ? value : Number(value)
    }
