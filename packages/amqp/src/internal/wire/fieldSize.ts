/**
 * How many bytes a header table needs on the wire, exactly; and what keeps one from being written.
 *
 * The size is asked for each message, the reason only for a message that is refused: so they are two functions, and
 * the one that is asked for each message makes no path and no object.
 */
import type { Headers, HeaderValue } from "../../AmqpMessage.ts"
import { numberSize, TypedNumber, typedNumberProblem } from "../typedNumber.ts"
import { describe } from "./describe.ts"
import { maxShortString, utf8Length } from "./strings.ts"

/** A table that holds itself is told by this depth, which no message has that somebody reads. */
export const maxDepth = 512

const leastInt64 = -0x8000000000000000n
const mostInt64 = 0x7fffffffffffffffn

// More than any frame may have; a table whose parts refer to one part again and again would never end otherwise.
const enough = 0x100000

let budget = 0

/** How many bytes a table needs, its own length of four bytes included; -1 if it cannot be written. */
export const tableSize = (table: Headers): number => {
  budget = enough
  return sizeOfTable(table, 0)
}

const sizeOfTable = (table: { readonly [key: string]: HeaderValue | undefined }, depth: number): number => {
  if (depth > maxDepth) return -1
  let size = 4
  const keys = Object.keys(table)
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index]!
    const value = table[key]
    if (value === undefined) continue
    const keySize = utf8Length(key)
    if (keySize < 0 || keySize > maxShortString) return -1
    const valueSize = sizeOfValue(value, depth)
    if (valueSize < 0) return -1
    size += 1 + keySize + valueSize
  }
  return size
}

/** How many bytes a value needs, its letter included; -1 if it cannot be written. */
const sizeOfValue = (value: HeaderValue, depth: number): number => {
  if (--budget < 0) return -1
  switch (typeof value) {
    case "string": {
      const size = utf8Length(value)
      budget -= size
      return size < 0 ? -1 : 5 + size
    }
    case "number":
      return sizeOfNumber(value)
    case "boolean":
      return 2
    case "bigint":
      return value >= leastInt64 && value <= mostInt64 ? 9 : -1
    case "object":
      return value === null ? 1 : sizeOfObject(value, depth)
    default:
      return -1
  }
}

const sizeOfNumber = (value: number): number => {
  if (!Number.isInteger(value)) return Number.isFinite(value) ? 9 : -1
  if (value >= -0x80 && value < 0x80) return 2
  if (value >= -0x8000 && value < 0x8000) return 3
  return value >= -0x80000000 && value < 0x80000000 ? 5 : 9
}

const sizeOfObject = (value: object, depth: number): number => {
  if (Array.isArray(value)) {
    if (depth >= maxDepth) return -1
    let size = 5
    for (let index = 0; index < value.length; index++) {
      const element = sizeOfValue(value[index] as HeaderValue, depth + 1)
      if (element < 0) return -1
      size += element
    }
    return size
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? -1 : 9
  if (value instanceof Uint8Array) return 5 + value.byteLength
  if (value instanceof TypedNumber) return typedNumberProblem(value) === undefined ? 1 + numberSize[value.type] : -1
  const size = sizeOfTable(value as Headers, depth + 1)
  return size < 0 ? -1 : 1 + size
}

/** An entry of a table that cannot be written, and why. */
export interface FieldProblem {
  /** The path of the field, such as `headers.trace.ids[2]`. */
  readonly path: string
  readonly detail: string
}

/** What keeps a table from being written; `undefined` if nothing does. */
export const tableProblem = (table: unknown, path: string): FieldProblem | undefined => {
  if (typeof table !== "object" || table === null || Array.isArray(table)) {
    return { path, detail: `it is ${describe(table)}, and must be an object` }
  }
  budget = enough
  return problemOfTable(table as Headers, path, 0)
}

const problemOfTable = (table: Headers, path: string, depth: number): FieldProblem | undefined => {
  if (depth > maxDepth) return { path: shortened(path), detail: tooDeep }
  for (const key of Object.keys(table)) {
    const value = table[key]
    if (value === undefined) continue
    const keySize = utf8Length(key)
    if (keySize < 0) return { path, detail: `a key of it ${notWellFormed}` }
    if (keySize > maxShortString) {
      return { path, detail: `a key of it has ${keySize} bytes in UTF-8, and may have at most ${maxShortString}` }
    }
    const problem = problemOfValue(value, `${path}.${key}`, depth)
    if (problem !== undefined) return problem
  }
  return undefined
}

const problemOfValue = (value: unknown, path: string, depth: number): FieldProblem | undefined => {
  if (--budget < 0) return { path: shortened(path), detail: tooMuch }
  switch (typeof value) {
    case "string": {
      const size = utf8Length(value)
      budget -= size
      return size < 0 ? { path, detail: `it ${notWellFormed}` } : undefined
    }
    case "number":
      return Number.isFinite(value) ? undefined : { path, detail: `${value} cannot be sent; use a finite number` }
    case "boolean":
      return undefined
    case "bigint":
      return value >= leastInt64 && value <= mostInt64
        ? undefined
        : { path, detail: `${value} needs more than 64 bits; send it as a string` }
    case "object":
      return value === null ? undefined : problemOfObject(value, path, depth)
    default:
      return {
        path,
        detail: `it is ${describe(value)}; a header is a string, number, bigint, boolean, Date, bytes, or a list or ` +
          "table of these"
      }
  }
}

const problemOfObject = (value: object, path: string, depth: number): FieldProblem | undefined => {
  if (Array.isArray(value)) {
    if (depth >= maxDepth) return { path: shortened(path), detail: tooDeep }
    for (let index = 0; index < value.length; index++) {
      const problem = problemOfValue(value[index], `${path}[${index}]`, depth + 1)
      if (problem !== undefined) return problem
    }
    return undefined
  }
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? { path, detail: "it must be a valid Date" } : undefined
  }
  if (value instanceof Uint8Array) return undefined
  if (value instanceof TypedNumber) {
    const detail = typedNumberProblem(value)
    return detail === undefined ? undefined : { path, detail }
  }
  return problemOfTable(value as Headers, path, depth + 1)
}

/** Says what is wrong with a string that UTF-8 cannot hold. */
export const notWellFormed = "has half of a surrogate pair, as text that was cut within an emoji has; cut it elsewhere"
const tooDeep = `it is nested more than ${maxDepth} levels deep, or in a circle`
const tooMuch = `it needs more than ${enough} bytes; use the body`

const shortened = (path: string): string => path.length > 200 ? `${path.slice(0, 200)}…` : path
