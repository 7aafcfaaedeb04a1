/**
 * Writes header tables. What is written has been measured with `tableSize`, so that there is room for it and nothing
 * in it is refused.
 */
import type { Headers, HeaderValue } from "../../AmqpMessage.ts"
import { numberTags, TypedNumber } from "../typedNumber.ts"
import { writeInt64, writeUint32 } from "./integers.ts"
import { writeShortString, writeText } from "./strings.ts"

const tag = {
  array: 0x41, // A
  boolean: 0x74, // t
  bytes: 0x78, // x
  float64: 0x64, // d
  int8: 0x62, // b
  int16: 0x73, // s
  int32: 0x49, // I
  int64: 0x6c, // l
  nothing: 0x56, // V
  string: 0x53, // S
  table: 0x46, // F
  timestamp: 0x54 // T
}

/** Writes a table with its length in front, and returns the offset behind it. */
export const writeTable = (
  buffer: Buffer,
  table: { readonly [key: string]: HeaderValue | undefined },
  offset: number
): number => {
  const end = writeEntries(buffer, table, offset + 4)
  writeUint32(buffer, end - offset - 4, offset)
  return end
}

/** Writes the entries of a table alone, and returns the offset behind them. */
export const writeEntries = (
  buffer: Buffer,
  table: { readonly [key: string]: HeaderValue | undefined },
  offset: number
): number => {
  const keys = Object.keys(table)
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index]!
    const value = table[key]
    if (value !== undefined) offset = writeValue(buffer, value, writeShortString(buffer, key, offset))
  }
  return offset
}

const writeValue = (buffer: Buffer, value: HeaderValue, offset: number): number => {
  switch (typeof value) {
    case "string": {
      buffer[offset] = tag.string
      const end = writeText(buffer, value, offset + 5)
      writeUint32(buffer, end - offset - 5, offset + 1)
      return end
    }
    case "number":
      return writeNumber(buffer, value, offset)
    case "boolean":
      buffer[offset] = tag.boolean
      buffer[offset + 1] = value ? 1 : 0
      return offset + 2
    case "bigint":
      buffer[offset] = tag.int64
      return buffer.writeBigInt64BE(value, offset + 1)
    default:
      return writeObject(buffer, value, offset)
  }
}

/** A whole number gets the smallest type that holds it, because RabbitMQ and its clients widen it where they must. */
const writeNumber = (buffer: Buffer, value: number, offset: number): number => {
  if (!Number.isInteger(value) || value >= 0x8000000000000000 || value < -0x8000000000000000) {
    buffer[offset] = tag.float64
    return buffer.writeDoubleBE(value, offset + 1)
  }
  if (value >= -0x80 && value < 0x80) {
    buffer[offset] = tag.int8
    buffer[offset + 1] = value
    return offset + 2
  }
  if (value >= -0x8000 && value < 0x8000) {
    buffer[offset] = tag.int16
    buffer[offset + 1] = value >> 8
    buffer[offset + 2] = value
    return offset + 3
  }
  if (value >= -0x80000000 && value < 0x80000000) {
    buffer[offset] = tag.int32
    return writeUint32(buffer, value, offset + 1)
  }
  buffer[offset] = tag.int64
  return writeInt64(buffer, value, offset + 1)
}

const writeObject = (buffer: Buffer, value: object | null, offset: number): number => {
  if (value === null) {
    buffer[offset] = tag.nothing
    return offset + 1
  }
  if (Array.isArray(value)) {
    buffer[offset] = tag.array
    let end = offset + 5
    for (let index = 0; index < value.length; index++) end = writeValue(buffer, value[index] as HeaderValue, end)
    writeUint32(buffer, end - offset - 5, offset + 1)
    return end
  }
  if (value instanceof Date) {
    buffer[offset] = tag.timestamp
    return writeInt64(buffer, Math.floor(value.getTime() / 1000), offset + 1)
  }
  if (value instanceof Uint8Array) {
    buffer[offset] = tag.bytes
    writeUint32(buffer, value.byteLength, offset + 1)
    buffer.set(value, offset + 5)
    return offset + 5 + value.byteLength
  }
  if (value instanceof TypedNumber) return writeTypedNumber(buffer, value, offset)
  buffer[offset] = tag.table
  return writeTable(buffer, value as Headers, offset + 1)
}

const writeTypedNumber = (buffer: Buffer, { places, type, value }: TypedNumber, offset: number): number => {
  buffer[offset] = numberTags[type]
  const at = offset + 1
  switch (type) {
    case "int8":
      return buffer.writeInt8(Number(value), at)
    case "uint8":
      return buffer.writeUInt8(Number(value), at)
    case "int16":
      return buffer.writeInt16BE(Number(value), at)
    case "uint16":
      return buffer.writeUInt16BE(Number(value), at)
    case "int32":
      return buffer.writeInt32BE(Number(value), at)
    case "uint32":
      return buffer.writeUInt32BE(Number(value), at)
    case "int64":
    case "timestamp":
      return buffer.writeBigInt64BE(BigInt(value), at)
    case "float32":
      return buffer.writeFloatBE(Number(value), at)
    case "float64":
      return buffer.writeDoubleBE(Number(value), at)
    case "decimal":
      buffer[at] = places
      return buffer.writeUInt32BE(Number(value), at + 1)
  }
}
