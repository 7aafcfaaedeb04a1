/**
 * What can be put on the wire, and why the rest cannot: the lengths of strings, the values of field tables and their
 * size. Synchronous, because every message passes.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Headers } from "../../AmqpMessage.ts"
import { describe } from "./describe.ts"
import { notWellFormed, tableProblem, tableSize as sizeOf } from "./fieldSize.ts"
import { frameOverhead } from "./frame.ts"
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

/** The most that a header table can need: what the largest frame holds beside the properties that are always there. */
export const maxHeaderBytes = 131072 - frameOverhead - 12 - 2

/** Checks a string of at most 255 bytes: a name, a routing key or a property. */
export const shortString = (field: string, value: unknown): Refused | undefined => {
  if (typeof value !== "string") return new Refused(field, `it is ${describe(value)}, and must be a string`)
  const size = utf8Length(value)
  if (size < 0) return new Refused(field, `it ${notWellFormed}`)
  return size > maxShortString
    ? new Refused(field, `it has ${size} bytes in UTF-8, and may have at most ${maxShortString}`)
    : undefined
}

/** Reads a duration as milliseconds, and what is no duration as NaN. `Duration` itself takes NaN for 0. */
export const durationMillis = (input: Duration.Input): number =>
  Number.isNaN(input)
    ? NaN
    : Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })

/** Counts the bytes that a header table needs on the wire, or says which entry of it cannot be sent. */
export const tableSize = (table: unknown, path: string): number | Refused => {
  const size = typeof table === "object" && table !== null && !Array.isArray(table) ? sizeOf(table as Headers) : -1
  if (size >= 0) return size
  const { detail, path: field } = tableProblem(table, path)!
  return new Refused(field, detail)
}
