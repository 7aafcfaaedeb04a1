/**
 * What can be put on the wire, and why the rest cannot: the lengths of strings, the values of field tables and their
 * size. Synchronous, because every message passes.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Headers, HeaderValue } from "../../AmqpMessage.ts"
import { describe } from "./describe.ts"
import { maxShortString, utf8Length } from "./strings.ts"

/** A field that cannot be sent, and the cause. */
export class Refused {
  readonly field: string
  readonly detail: string
  constructor(field: string, detail: string) {
    this.field = field
    this.detail = detail
  }
}

/** amqplib encodes a header table into a buffer of this size. */
export const maxHeaderBytes = 65536
/** The most that all properties but the headers can need in the header frame. */
export const maxPropertyBytes = 2400
const maxDepth = 32

/** What is wrong with a string that UTF-8 cannot express. */
export const notWellFormed = "has half of a surrogate pair, as text that was cut within an emoji has; cut it elsewhere"

/** Checks a string of at most 255 bytes: a name, a routing key or a property. */
export const shortString = (field: string, value: unknown): Refused | undefined => {
  if (typeof value !== "string") return new Refused(field, `it is ${describe(value)}, and must be a string`)
  const bytes = utf8Length(value)
  return bytes === -1
    ? new Refused(field, `it ${notWellFormed}`)
    : bytes > maxShortString
    ? new Refused(field, `it has ${bytes} bytes in UTF-8, and may have at most 255`)
    : undefined
}

/** Reads a duration as milliseconds, and what is no duration as NaN. `Duration` itself takes NaN for 0. */
export const durationMillis = (input: Duration.Input): number =>
  Number.isNaN(input)
    ? NaN
    : Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })

/** Counts the bytes that a header table needs on the wire, or says which entry of it cannot be sent. */
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
    const keyBytes = utf8Length(key)
    if (keyBytes === -1) return new Refused(path, `a key of it ${notWellFormed}`)
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
    case "string": {
      const bytes = utf8Length(value)
      return bytes === -1 ? new Refused(path, `it ${notWellFormed}`) : 5 + bytes
    }
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
