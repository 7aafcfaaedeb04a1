/** Random messages, which a seed decides, and what amqplib takes for the same. */
import { seeded } from "effect-amqp-memory/SeededRandom"
import type { WireMessage, WireProperties } from "../../src/AmqpDriver.ts"
import type { Headers, HeaderValue } from "../../src/AmqpMessage.ts"
import { TypedNumber } from "../../src/internal/typedNumber.ts"

/** Draws what a message is made of. */
export const makeRandom = (seed: number) => {
  const next = seeded(seed)
  const below = (limit: number): number => Math.floor(next() * limit)
  const oneOf = <A>(values: ReadonlyArray<A>): A => values[below(values.length)]!
  const chance = (likelihood: number): boolean => next() < likelihood
  const alphabets = ["abcdefgh.-_0123456789", "äöüßéñ", "漢字仮名", "😀🚀", "a😀é漢\u0000\u007f"]
  const text = (bytes: number): string => {
    const letters = Array.from(oneOf(alphabets))
    let value = ""
    for (let count = below(bytes); count > 0; count--) {
      const letter = oneOf(letters)
      if (Buffer.byteLength(value) + Buffer.byteLength(letter) > bytes) break
      value += letter
    }
    return value
  }
  const bytes = (limit: number): Buffer => Buffer.from(Array.from({ length: below(limit) }, () => below(256)))
  const magnitude = (): number => oneOf([10, 200, 40000, 3e9, 2 ** 50, 2 ** 53 - 1])
  const integer = (): number => Math.floor((next() * 2 - 1) * magnitude())
  const scalars: ReadonlyArray<() => HeaderValue> = [
    () => text(60),
    () => text(300),
    integer,
    () => oneOf([-128, -129, 127, 128, 32767, 32768, -32769, 2147483647, 2147483648, -2147483649]),
    () => (next() - 0.5) * 1000,
    () => BigInt(integer()),
    () => oneOf([2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n]),
    () => chance(0.5),
    () => null,
    () => new Date(below(4e9) * 1000),
    () => bytes(50),
    () => new TypedNumber("int8", below(256) - 128),
    () => new TypedNumber("uint8", below(256)),
    () => new TypedNumber("int16", below(65536) - 32768),
    () => new TypedNumber("uint16", below(65536)),
    () => new TypedNumber("int32", below(4294967296) - 2147483648),
    () => new TypedNumber("uint32", below(4294967296)),
    () => new TypedNumber("int64", integer()),
    () => new TypedNumber("float32", Math.fround(next())),
    () => new TypedNumber("float64", integer()),
    () => new TypedNumber("decimal", below(4294967296), below(256))
  ]
  const value = (depth: number): HeaderValue => {
    if (depth > 0 && chance(0.2)) return Array.from({ length: below(5) }, () => value(depth - 1))
    if (depth > 0 && chance(0.2)) return table(depth - 1)
    return oneOf(scalars)()
  }
  const table = (depth: number): Headers => {
    const headers: Record<string, HeaderValue | undefined> = {}
    for (let count = below(6); count > 0; count--) headers[text(chance(0.1) ? 255 : 30)] = value(depth)
    if (chance(0.1)) headers["left out"] = undefined
    return headers
  }
  const optional = <A>(make: () => A): A | undefined => chance(0.4) ? make() : undefined
  const short = (): string => text(chance(0.1) ? 255 : 40)
  const properties = (): WireProperties => ({
    contentType: optional(short),
    contentEncoding: optional(short),
    headers: optional(() => table(3)),
    deliveryMode: optional(() => 1 + below(2)),
    priority: optional(() => below(256)),
    correlationId: optional(short),
    replyTo: optional(short),
    expiration: optional(() => String(below(100000))),
    messageId: optional(short),
    timestamp: optional(() => below(4e9)),
    type: optional(short),
    userId: optional(short),
    appId: optional(short)
  })
  /** A message whose body lies around the ends of its frames, or around where a body is not copied. */
  const message = (frameMax: number): WireMessage => ({
    exchange: short(),
    routingKey: short(),
    mandatory: chance(0.5),
    properties: properties(),
    body: Buffer.alloc(
      Math.max(0, oneOf([0, 1, 16, 256, 4096, frameMax - 8, 2 * (frameMax - 8)]) + below(5) - 2),
      below(256)
    )
  })
  return { below, oneOf, chance, text, bytes, value, table, properties, message, short }
}

/** A header as amqplib writes it. */
const forAmqplib = (value: HeaderValue | undefined): unknown => {
  if (typeof value === "bigint") return { "!": "int64", value }
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value
  if (value instanceof Date) return { "!": "timestamp", value: Math.floor(value.getTime() / 1000) }
  if (value instanceof TypedNumber) {
    const { places, type, value: digits } = value
    return type === "decimal"
      ? { "!": "decimal", value: { places, digits } }
      : { "!": type === "float32" ? "float" : type, value: digits }
  }
  return Array.isArray(value) ? value.map(forAmqplib) : tableForAmqplib(value as Headers)
}

/** A header table as amqplib writes it. */
export const tableForAmqplib = (table: Headers): Record<string, unknown> =>
  Object.fromEntries(Object.entries(table).map(([key, value]) => [key, forAmqplib(value)]))

/** Properties as amqplib writes them. */
export const propertiesForAmqplib = (properties: WireProperties): Record<string, unknown> => ({
  ...properties,
  headers: properties.headers === undefined ? undefined : tableForAmqplib(properties.headers)
})

/** What a header has become when it was written and read: the value alone, in the type that JavaScript has for it. */
const asRead = (value: HeaderValue): HeaderValue => {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== "object" || value === null) return value
  if (value instanceof Date) return new Date(Math.floor(value.getTime() / 1000) * 1000)
  if (value instanceof Uint8Array) return Buffer.from(value)
  if (value instanceof TypedNumber) {
    return value.type === "decimal" ? Number(value.value) / 10 ** value.places : value.value
  }
  return Array.isArray(value) ? value.map(asRead) : tableAsRead(value as Headers)
}

/** What a header table has become when it was written and read. */
export const tableAsRead = (table: Headers): Headers => {
  const read: Record<string, HeaderValue> = Object.create(null)
  for (const [key, value] of Object.entries(table)) if (value !== undefined) read[key] = asRead(value)
  return read
}
