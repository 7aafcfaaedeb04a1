/**
 * Reads header tables of any client: every type that RabbitMQ lets through, in any depth that a frame can hold.
 */
import type { Headers, HeaderValue } from "../../AmqpMessage.ts"
import { TypedNumber } from "../typedNumber.ts"
import { readInt64, readUint16, readUint32 } from "./integers.ts"
import { readShortString } from "./strings.ts"

/** A header table that cannot be read, and why. */
export class UnreadableTable extends Error {
  override readonly name = "UnreadableTable"
  /** The entries before the one that cannot be read. */
  readonly before: Headers

  constructor(detail: string, before: Headers) {
    super(`the headers cannot be read: ${detail}`)
    this.before = before
  }
}

/** The types that have one size, by their letters; -1 for those that say theirs, and for unknown ones. */
const sizes = new Int8Array(256).fill(-1)
for (const [letters, size] of [["V", 0], ["tbB", 1], ["su", 2], ["Iif", 4], ["D", 5], ["lLdT", 8]] as const) {
  for (const letter of letters) sizes[letter.charCodeAt(0)] = size
}

const isLong = (letter: number): boolean => letter === 0x53 || letter === 0x78 || letter === 0x46 || letter === 0x41

/** Thrown within this module, where the entries before it are not at hand. */
class Unreadable extends Error {}

const quoted = (letter: number): string =>
  letter > 0x20 && letter < 0x7f ? `"${String.fromCharCode(letter)}"` : `0x${letter.toString(16).padStart(2, "0")}`

/** The offset behind the value at an offset, which starts with its letter. */
export const endOfValue = (buffer: Buffer, offset: number, end: number): number => {
  const letter = buffer[offset]!
  const size = sizes[letter]!
  if (size >= 0) {
    if (offset + 1 + size <= end) return offset + 1 + size
  } else if (!isLong(letter)) {
    throw new Unreadable(`${quoted(letter)} is no type of a field`)
  } else if (offset + 5 <= end) {
    const behind = offset + 5 + readUint32(buffer, offset + 1)
    if (behind <= end) return behind
  }
  throw new Unreadable(`a field of type ${quoted(letter)} is longer than what holds it`)
}

/** The offset behind the key at an offset, where its value starts. */
export const endOfKey = (buffer: Buffer, offset: number, end: number): number => {
  const behind = offset + 1 + buffer[offset]!
  // A value has at least its letter.
  if (behind < end) return behind
  throw new Unreadable("a key is longer than the table that holds it")
}

/** A table or an array that is being read; they are kept in a list, because a stack would not hold 20,000 levels. */
interface Container {
  readonly end: number
  readonly table: Record<string, HeaderValue> | undefined
  readonly array: Array<HeaderValue> | undefined
}

/** Reads the entries of a table, without its length; throws {@link UnreadableTable}. */
export const readTable = (bytes: Uint8Array): Headers => {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const headers: Record<string, HeaderValue> = Object.create(null)
  const containers: Array<Container> = [{ end: buffer.length, table: headers, array: undefined }]
  let offset = 0
  try {
    for (let container: Container | undefined; (container = containers.at(-1)) !== undefined;) {
      if (offset === container.end) {
        containers.pop()
        continue
      }
      let key = ""
      if (container.table !== undefined) {
        const behind = endOfKey(buffer, offset, container.end)
        key = readShortString(buffer, offset)
        offset = behind
      }
      const end = endOfValue(buffer, offset, container.end)
      const letter = buffer[offset]!
      let value: HeaderValue
      if (letter === 0x46) {
        const table: Record<string, HeaderValue> = Object.create(null)
        containers.push({ end, table, array: undefined })
        value = table
        offset += 5
      } else if (letter === 0x41) {
        const array: Array<HeaderValue> = []
        containers.push({ end, table: undefined, array })
        value = array
        offset += 5
      } else {
        value = readScalar(buffer, letter, offset + 1, end)
        offset = end
      }
      if (container.table !== undefined) container.table[key] = value
      else container.array!.push(value)
    }
  } catch (error) {
    if (error instanceof Unreadable) throw new UnreadableTable(error.message, headers)
    throw error
  }
  return headers
}

const readScalar = (buffer: Buffer, letter: number, offset: number, end: number): HeaderValue => {
  switch (letter) {
    case 0x53: // S
      return buffer.toString("utf8", offset + 4, end)
    case 0x78: // x
      return buffer.subarray(offset + 4, end)
    case 0x74: // t
      return buffer[offset] !== 0
    case 0x62: // b
      return (buffer[offset]! << 24) >> 24
    case 0x42: // B
      return buffer[offset]!
    case 0x73: // s
      return (readUint16(buffer, offset) << 16) >> 16
    case 0x75: // u
      return readUint16(buffer, offset)
    case 0x49: // I
      return readUint32(buffer, offset) | 0
    case 0x69: // i
      return readUint32(buffer, offset)
    case 0x6c: // l
    case 0x4c: // L, which RabbitMQ reads with a sign as well
      return readInt64(buffer, offset)
    case 0x66: // f
      return buffer.readFloatBE(offset)
    case 0x64: // d
      return buffer.readDoubleBE(offset)
    case 0x44: // D
      return readUint32(buffer, offset + 1) / 10 ** buffer[offset]!
    case 0x54: // T
      return readTimestamp(readInt64(buffer, offset))
    default: // V
      return null
  }
}

// The last second that a `Date` can hold, before and after 1970.
const lastSecond = 8640000000000

const readTimestamp = (seconds: number | bigint): HeaderValue =>
  typeof seconds === "number" && Math.abs(seconds) <= lastSecond
    ? new Date(seconds * 1000)
    // Some clients write milliseconds or microseconds, which is a time in a far future.
    : new TypedNumber("timestamp", seconds)
