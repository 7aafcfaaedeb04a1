/**
 * Integers on the wire, all of them big-endian. JavaScript counts exactly up to 2^53: what is beyond is a `bigint`.
 */

const twoTo32 = 4294967296

export const writeUint16 = (buffer: Buffer, value: number, offset: number): number => {
  buffer[offset] = value >>> 8
  buffer[offset + 1] = value
  return offset + 2
}

export const writeUint32 = (buffer: Buffer, value: number, offset: number): number => {
  buffer[offset] = value >>> 24
  buffer[offset + 1] = value >>> 16
  buffer[offset + 2] = value >>> 8
  buffer[offset + 3] = value
  return offset + 4
}

/** Writes a whole number of at most 2^53 in magnitude into eight bytes, a negative one as its two's complement. */
export const writeInt64 = (buffer: Buffer, value: number, offset: number): number => {
  const high = Math.floor(value / twoTo32)
  writeUint32(buffer, high, offset)
  writeUint32(buffer, value - high * twoTo32, offset + 4)
  return offset + 8
}

export const readUint16 = (buffer: Buffer, offset: number): number => (buffer[offset]! << 8) | buffer[offset + 1]!

export const readUint32 = (buffer: Buffer, offset: number): number =>
  ((buffer[offset]! << 24) | (buffer[offset + 1]! << 16) | (buffer[offset + 2]! << 8) | buffer[offset + 3]!) >>> 0

/** Reads eight bytes without a sign. Beyond 2^53 the number is near to what was written, and not the same. */
export const readUint64 = (buffer: Buffer, offset: number): number =>
  readUint32(buffer, offset) * twoTo32 + readUint32(buffer, offset + 4)

/** Reads eight bytes with a sign, exactly. */
export const readInt64 = (buffer: Buffer, offset: number): number | bigint => {
  const value = (readUint32(buffer, offset) | 0) * twoTo32 + readUint32(buffer, offset + 4)
  return Number.isSafeInteger(value) ? value : buffer.readBigInt64BE(offset)
}
