/**
 * How a headers exchange compares the arguments of a binding with the headers of a message.
 *
 * @see https://www.rabbitmq.com/tutorials/amqp-concepts#exchange-headers
 */
import type { Headers, HeaderValue } from "effect-amqp/AmqpMessage"

const kinds: ReadonlySet<HeaderValue> = new Set(["all", "any", "all-with-x", "any-with-x"])

/** Tells if RabbitMQ accepts a value of `x-match`. Defaults to `"all"`. */
export const isValidMatch = (value: HeaderValue | undefined): boolean => value === undefined || kinds.has(value)

/** Compares header values: bytes by content, dates by whole seconds, tables by their entries. */
export const sameValue = (a: HeaderValue | undefined, b: HeaderValue | undefined): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (a instanceof Date || b instanceof Date) {
    return a instanceof Date && b instanceof Date && Math.floor(a.getTime() / 1000) === Math.floor(b.getTime() / 1000)
  }
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && a.length === b.length && a.every((x, i) => x === b[i])
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => sameValue(x, b[i]))
  }
  const left = a as Headers
  const right = b as Headers
  const keys = new Set([...Object.keys(left), ...Object.keys(right)])
  for (const key of keys) if (!sameValue(left[key], right[key])) return false
  return true
}

/** Tells if a binding with these arguments takes a message with these headers. A `null` argument asks for presence. */
export const headersMatch = (binding: Headers, headers: Headers): boolean => {
  const kind = binding["x-match"] ?? "all"
  const withX = kind === "all-with-x" || kind === "any-with-x"
  const any = kind === "any" || kind === "any-with-x"
  for (const [name, wanted] of Object.entries(binding)) {
    if (name === "x-match" || wanted === undefined || (!withX && name.startsWith("x-"))) continue
    const actual = headers[name]
    const matches = actual !== undefined && (wanted === null || sameValue(wanted, actual))
    if (matches === any) return any
  }
  return !any
}
