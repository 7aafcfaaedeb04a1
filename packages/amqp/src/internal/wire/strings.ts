/**
 * Strings on the wire: UTF-8, behind one byte of length in a method or a property, behind four in a field table.
 *
 * Most strings of a message are short and of ASCII. A loop over those is faster than a call into Node, and needs no
 * buffer in between.
 */

/** From here on a call into Node is faster than a loop. */
const loopLimit = 48

/** The most bytes that a short string may have: its length is one byte. */
export const maxShortString = 255

/** How many bytes a string has in UTF-8; -1 if half of a surrogate pair stands alone in it, which UTF-8 cannot say. */
export const utf8Length = (value: string): number => {
  const length = value.length
  if (length < loopLimit) {
    let index = 0
    while (index < length && value.charCodeAt(index) < 0x80) index++
    if (index === length) return length
  }
  return isWellFormed(value) ? Buffer.byteLength(value) : -1
}

const loneSurrogate = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/

/** Says that a string has no half of a surrogate pair, which would arrive as another character. */
export const isWellFormed = (value: string): boolean => !loneSurrogate.test(value)

/** Writes a string without its length, and returns the offset behind it. There must be room for it. */
export const writeText = (buffer: Buffer, value: string, offset: number): number => {
  const length = value.length
  if (length < loopLimit) {
    let index = 0
    for (; index < length; index++) {
      const code = value.charCodeAt(index)
      if (code >= 0x80) break
      buffer[offset + index] = code
    }
    if (index === length) return offset + length
  }
  return offset + buffer.write(value, offset, "utf8")
}

/** Writes a short string, and returns the offset behind it. */
export const writeShortString = (buffer: Buffer, value: string, offset: number): number => {
  const end = writeText(buffer, value, offset + 1)
  const length = end - offset - 1
  if (length > maxShortString) throw new RangeError(`a string of ${length} bytes, where ${maxShortString} may stand`)
  buffer[offset] = length
  return end
}

/** Reads the short string at an offset, which must lie within the buffer as a whole. */
export const readShortString = (buffer: Buffer, offset: number): string => {
  const length = buffer[offset]!
  return length === 0 ? "" : buffer.toString("utf8", offset + 1, offset + 1 + length)
}

/**
 * Reads short strings that mostly repeat the previous one, such as a consumer tag, and reuses the previous string then.
 */
export class RepeatedString {
  #last = ""

  read(buffer: Buffer, offset: number): string {
    const last = this.#last
    const length = buffer[offset]!
    if (length === last.length) {
      let index = 0
      while (index < length && buffer[offset + 1 + index] === last.charCodeAt(index)) index++
      if (index === length) return last
    }
    const value = readShortString(buffer, offset)
    // Bytes are compared with UTF-16 code units, which are the same in ASCII only.
    if (value.length === length && length < loopLimit && isAscii(value)) this.#last = value
    return value
  }
}

const isAscii = (value: string): boolean => {
  for (let index = 0; index < value.length; index++) if (value.charCodeAt(index) >= 0x80) return false
  return true
}
