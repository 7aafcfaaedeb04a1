/**
 * The properties of a message (AMQP 0-9-1, class basic): fourteen fields, each of them there if its flag is.
 */
import type { WireProperties } from "../../AmqpDriver.ts"
import type { Headers } from "../../AmqpMessage.ts"
import type { Cursor } from "./cursor.ts"
import { readTable, UnreadableTable } from "./fieldReader.ts"
import { tableSize } from "./fieldSize.ts"
import { writeTable } from "./fieldWriter.ts"
import { readInt64, readUint16, writeInt64, writeUint16, writeUint32 } from "./integers.ts"
import { RepeatedString, utf8Length, writeShortString } from "./strings.ts"
import { WireError } from "./WireError.ts"

const flag = {
  contentType: 0x8000,
  contentEncoding: 0x4000,
  headers: 0x2000,
  deliveryMode: 0x1000,
  priority: 0x0800,
  correlationId: 0x0400,
  replyTo: 0x0200,
  expiration: 0x0100,
  messageId: 0x0080,
  timestamp: 0x0040,
  type: 0x0020,
  userId: 0x0010,
  appId: 0x0008,
  clusterId: 0x0004
}

/** Flags that class basic does not have; the last one says that more flags follow. */
const unknownFlags = 0x0003

/** Bytes of the header table of a message on the wire, its length included; 0 without headers, -1 if it is refused. */
export const headersSize = (properties: WireProperties): number => {
  const { rawHeaders } = properties
  if (rawHeaders !== undefined) return 4 + rawHeaders.byteLength
  const { headers } = properties
  return headers === undefined ? 0 : tableSize(headers)
}

const optionalSize = (value: string | undefined): number => value === undefined ? 0 : 1 + utf8Length(value)

/** Bytes of a message's properties on the wire, flags included, with a header table of `headers` bytes. */
export const propertiesSize = (p: WireProperties, headers: number): number =>
  2 + headers + optionalSize(p.contentType) + optionalSize(p.contentEncoding) +
  (p.deliveryMode === undefined ? 0 : 1) + (p.priority === undefined ? 0 : 1) + optionalSize(p.correlationId) +
  optionalSize(p.replyTo) + optionalSize(p.expiration) + optionalSize(p.messageId) +
  (p.timestamp === undefined ? 0 : 8) + optionalSize(p.type) + optionalSize(p.userId) + optionalSize(p.appId)

/** The most that all properties but the headers can need, their flags included. */
export const maxPropertiesSize = 2 + 9 * 256 + 1 + 1 + 8

/** Writes properties, and returns the offset behind them. */
export const writeProperties = (buffer: Buffer, p: WireProperties, offset: number): number => {
  let flags = 0
  let end = offset + 2
  if (p.contentType !== undefined) {
    flags |= flag.contentType
    end = writeShortString(buffer, p.contentType, end)
  }
  if (p.contentEncoding !== undefined) {
    flags |= flag.contentEncoding
    end = writeShortString(buffer, p.contentEncoding, end)
  }
  if (p.rawHeaders !== undefined) {
    flags |= flag.headers
    end = writeUint32(buffer, p.rawHeaders.byteLength, end)
    buffer.set(p.rawHeaders, end)
    end += p.rawHeaders.byteLength
  } else if (p.headers !== undefined) {
    flags |= flag.headers
    end = writeTable(buffer, p.headers, end)
  }
  if (p.deliveryMode !== undefined) {
    flags |= flag.deliveryMode
    buffer[end++] = p.deliveryMode
  }
  if (p.priority !== undefined) {
    flags |= flag.priority
    buffer[end++] = p.priority
  }
  if (p.correlationId !== undefined) {
    flags |= flag.correlationId
    end = writeShortString(buffer, p.correlationId, end)
  }
  if (p.replyTo !== undefined) {
    flags |= flag.replyTo
    end = writeShortString(buffer, p.replyTo, end)
  }
  if (p.expiration !== undefined) {
    flags |= flag.expiration
    end = writeShortString(buffer, p.expiration, end)
  }
  if (p.messageId !== undefined) {
    flags |= flag.messageId
    end = writeShortString(buffer, p.messageId, end)
  }
  if (p.timestamp !== undefined) {
    flags |= flag.timestamp
    end = writeInt64(buffer, p.timestamp, end)
  }
  if (p.type !== undefined) {
    flags |= flag.type
    end = writeShortString(buffer, p.type, end)
  }
  if (p.userId !== undefined) {
    flags |= flag.userId
    end = writeShortString(buffer, p.userId, end)
  }
  if (p.appId !== undefined) {
    flags |= flag.appId
    end = writeShortString(buffer, p.appId, end)
  }
  writeUint16(buffer, flags, offset)
  return end
}

/** Properties as they were received. Their headers are kept as bytes until somebody reads them. */
export class ReceivedProperties implements WireProperties {
  contentType: string | undefined = undefined
  contentEncoding: string | undefined = undefined
  deliveryMode: number | undefined = undefined
  priority: number | undefined = undefined
  correlationId: string | undefined = undefined
  replyTo: string | undefined = undefined
  expiration: string | undefined = undefined
  messageId: string | undefined = undefined
  timestamp: number | undefined = undefined
  type: string | undefined = undefined
  userId: string | undefined = undefined
  appId: string | undefined = undefined
  rawHeaders: Uint8Array | undefined = undefined
  #headers: Headers | undefined = undefined

  /** The headers; throws `UnreadableTable` if they cannot be read. */
  get headers(): Headers | undefined {
    if (this.rawHeaders === undefined) return undefined
    return this.#headers ??= readTable(this.rawHeaders)
  }

  /** The same properties with another user id. */
  withUserId(userId: string): ReceivedProperties {
    return Object.assign(new ReceivedProperties(), this, { userId })
  }
}

/** The same properties with another user id. A spread would lose headers that nobody has read. */
export const withUserId = (properties: WireProperties, userId: string): WireProperties =>
  properties instanceof ReceivedProperties ? properties.withUserId(userId) : { ...properties, userId }

/** The headers of a message; of a table that cannot be read, the entries before the one that is the cause. */
export const readableHeaders = (properties: WireProperties): Headers | undefined => {
  try {
    return properties.headers
  } catch (error) {
    if (error instanceof UnreadableTable) return error.before
    throw error
  }
}

/** Says that a header may be there, without reading any: the property `headers` of what was received reads them all. */
export const mayHaveHeader = (properties: WireProperties, name: string): boolean => {
  const { rawHeaders } = properties
  if (rawHeaders === undefined) return properties.headers?.[name] !== undefined
  // Many clients write a table without entries.
  return rawHeaders.byteLength > name.length && asBuffer(rawHeaders).includes(name)
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Reads properties; one reader for a connection, because messages of one kind have strings in common. */
export class PropertiesReader {
  readonly #contentType = new RepeatedString()
  readonly #contentEncoding = new RepeatedString()
  readonly #replyTo = new RepeatedString()
  readonly #type = new RepeatedString()
  readonly #userId = new RepeatedString()
  readonly #appId = new RepeatedString()

  /** Reads the properties from where a cursor is to the end of its frame. */
  read(cursor: Cursor): ReceivedProperties {
    const properties = new ReceivedProperties()
    const flags = readUint16(cursor.buffer, cursor.pass(2))
    if ((flags & unknownFlags) !== 0) {
      throw new WireError(`a header frame with the property flags 0x${flags.toString(16)}, which no message has`)
    }
    if ((flags & flag.contentType) !== 0) properties.contentType = cursor.repeatedString(this.#contentType)
    if ((flags & flag.contentEncoding) !== 0) properties.contentEncoding = cursor.repeatedString(this.#contentEncoding)
    if ((flags & flag.headers) !== 0) {
      const length = cursor.uint32()
      const from = cursor.pass(length)
      properties.rawHeaders = cursor.buffer.subarray(from, from + length)
    }
    if ((flags & flag.deliveryMode) !== 0) properties.deliveryMode = cursor.octet()
    if ((flags & flag.priority) !== 0) properties.priority = cursor.octet()
    if ((flags & flag.correlationId) !== 0) properties.correlationId = cursor.shortString()
    if ((flags & flag.replyTo) !== 0) properties.replyTo = cursor.repeatedString(this.#replyTo)
    if ((flags & flag.expiration) !== 0) properties.expiration = cursor.shortString()
    if ((flags & flag.messageId) !== 0) properties.messageId = cursor.shortString()
    // Clients in Java write times before 1970 as negative numbers.
    if ((flags & flag.timestamp) !== 0) properties.timestamp = Number(readInt64(cursor.buffer, cursor.pass(8)))
    if ((flags & flag.type) !== 0) properties.type = cursor.repeatedString(this.#type)
    if ((flags & flag.userId) !== 0) properties.userId = cursor.repeatedString(this.#userId)
    if ((flags & flag.appId) !== 0) properties.appId = cursor.repeatedString(this.#appId)
    if ((flags & flag.clusterId) !== 0) cursor.shortString()
    cursor.end()
    return properties
  }
}
