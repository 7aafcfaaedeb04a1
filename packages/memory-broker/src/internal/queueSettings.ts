/**
 * The arguments of a queue, read once: the values that RabbitMQ accepts, and its refusals of the others.
 */
import type { QueueDeclaration } from "effect-amqp/AmqpDriver"
import type { Headers, HeaderValue } from "effect-amqp/AmqpMessage"
import type { Dialect } from "./brokerVersion.ts"
import { sameValue } from "./headersMatch.ts"
import { internalError, internalErrorFor, named, preconditionFailed } from "./replyFault.ts"
import { readAge } from "./streamOffset.ts"

export type QueueType = "classic" | "quorum" | "stream"

/** The fate of a message for which a queue with a maximum length has no room. */
export type Overflow = "drop-head" | "reject-publish" | "reject-publish-dlx"

export interface QueueSettings {
  readonly type: QueueType
  /** Milliseconds. */
  readonly messageTtl: number | undefined
  /** Milliseconds that the queue may be unused. */
  readonly expires: number | undefined
  readonly maxLength: number | undefined
  readonly maxLengthBytes: number | undefined
  readonly overflow: Overflow
  readonly deadLetterExchange: string | undefined
  readonly deadLetterRoutingKey: string | undefined
  /** Waits for the confirm of where a dead letter goes. */
  readonly deadLettersAtLeastOnce: boolean
  /** 0 is a queue without priorities. */
  readonly maxPriority: number
  readonly singleActiveConsumer: boolean
  readonly deliveryLimit: number | undefined
  /** Milliseconds that a message may stay unacknowledged, where the queue says so. */
  readonly consumerTimeout: number | undefined
  /** Milliseconds that a stream keeps its messages. */
  readonly maxAge: number | undefined
  /** Bytes after which a stream begins another segment. */
  readonly segmentBytes: number
}

/** Ten years in milliseconds: RabbitMQ's limit for every kind of expiry. */
export const longestExpiry = 10 * 365 * 24 * 60 * 60 * 1000

/** Names the AMQP type that a value is encoded as, as RabbitMQ prints it. */
export const wireType = (value: HeaderValue): string => {
  switch (typeof value) {
    case "string":
      return "longstr"
    case "boolean":
      return "bool"
    case "number":
      if (!Number.isInteger(value)) return "double"
      if (value >= -128 && value < 128) return "byte"
      if (value >= -0x8000 && value < 0x8000) return "short"
      if (value >= -0x80000000 && value < 0x80000000) return "signedint"
      return "long"
    default:
      if (value === null) return "void"
      if (Array.isArray(value)) return "array"
      if (value instanceof Date) return "timestamp"
      return value instanceof Uint8Array ? "binary" : "table"
  }
}

const render = (value: HeaderValue): string => value instanceof Date ? String(value.getTime() / 1000) : String(value)

const describe = (value: HeaderValue | undefined): string =>
  value === undefined ? "none" : `the value '${render(value)}' of type '${wireType(value)}'`

const inequivalent = (what: string, argument: string, received: string, current: string) =>
  preconditionFailed(`inequivalent arg '${argument}' for ${what}: received ${received} but current is ${current}`)

/** Fails as RabbitMQ does when something is declared again with another property. */
export const assertSame = (
  what: string,
  property: string,
  received: string | boolean,
  current: string | boolean
): void => {
  if (received !== current) throw inequivalent(what, property, `'${received}'`, `'${current}'`)
}

/** The values that arguments have when they are absent. */
const defaults: Headers = { "x-queue-type": "classic" }

/** Fails as RabbitMQ does when something is declared again with other arguments. */
export const assertSameArguments = (
  what: string,
  names: ReadonlyArray<string>,
  received: Headers,
  current: Headers
): void => {
  for (const name of names) {
    const wanted = received[name]
    const actual = current[name]
    if (sameValue(wanted ?? defaults[name], actual ?? defaults[name])) continue
    throw wanted === undefined || actual === undefined
      ? inequivalent(what, name, describe(wanted), describe(actual))
      : inequivalent(what, name, `'${render(wanted)}'`, `'${render(actual)}'`)
  }
}

const classicOnly = ["x-max-priority", "x-queue-mode", "x-queue-master-locator"]
const quorumOnly = [
  "x-delivery-limit",
  "x-dead-letter-strategy",
  "x-quorum-initial-group-size",
  "x-max-in-memory-length",
  "x-max-in-memory-bytes"
]
const streamOnly = ["x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size"]
const notForStreams = [
  "x-expires",
  "x-message-ttl",
  "x-dead-letter-exchange",
  "x-dead-letter-routing-key",
  "x-max-length",
  "x-overflow",
  "x-single-active-consumer"
]

/** The arguments that RabbitMQ refuses for a queue of each type. */
const unsupported: Readonly<Record<QueueType, ReadonlyArray<string>>> = {
  classic: [...quorumOnly, ...streamOnly],
  quorum: [...classicOnly, ...streamOnly],
  stream: [...classicOnly, ...quorumOnly, ...notForStreams]
}

/** RabbitMQ's default for the size of a segment. */
const defaultSegmentBytes = 500_000_000

/** The arguments that count when a queue is declared again, in the order in which RabbitMQ compares them. */
export const comparedArguments: ReadonlyArray<string> = [
  "x-expires",
  "x-message-ttl",
  "x-dead-letter-exchange",
  "x-dead-letter-routing-key",
  "x-max-length",
  "x-max-length-bytes",
  "x-overflow",
  "x-single-active-consumer",
  "x-queue-type",
  ...classicOnly,
  ...quorumOnly,
  ...streamOnly
]

const overflows: ReadonlySet<HeaderValue | undefined> = new Set(["drop-head", "reject-publish", "reject-publish-dlx"])

const masters: ReadonlySet<HeaderValue> = new Set(["client-local", "min-masters", "random"])
const leaders: ReadonlySet<string> = new Set(["client-local", "balanced", "random", "least-leaders"])

const deprecated = (feature: string): string =>
  `Feature \`${feature}\` is deprecated.\n` +
  "By default, this feature is not permitted anymore.\n" +
  "The feature will be removed from a future major RabbitMQ version, regardless of the configuration; actual version " +
  "to be determined.\n" +
  "To continue using this feature when it is not permitted by default, set the following parameter in your " +
  "configuration."

const invalidArgument = (name: string, what: string, detail: string) =>
  preconditionFailed(`invalid arg '${name}' for ${what}: ${detail}`)

/** Reads an argument that is a whole number and not negative. */
export const readWhole = (args: Headers, name: string, what: string): number | undefined => {
  const value = args[name]
  if (value === undefined) return undefined
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw invalidArgument(name, what, `"expected integer, got ${wireType(value)}"`)
  }
  if (value < 0) throw invalidArgument(name, what, `{value_negative,${value}}`)
  return value
}

/** Reads the arguments of a queue. Throws the fault with which RabbitMQ refuses them. */
export const readSettings = (
  declaration: QueueDeclaration,
  vhost: string,
  dialect: Dialect
): QueueSettings => {
  const args = declaration.arguments
  const what = named("queue", declaration.queue, vhost)
  const invalid = (name: string, detail: string) => invalidArgument(name, what, detail)

  const whole = (name: string, least: number, most: number): number | undefined => {
    const value = readWhole(args, name, what)
    if (value === undefined) return undefined
    if (value < least) throw invalid(name, `{value_zero,${value}}`)
    if (value > most) throw invalid(name, `{${most === 255 ? "max_value_exceeded" : "value_too_large"},${value}}`)
    return value
  }
  const text = (name: string): string | undefined => {
    const value = args[name]
    if (value === undefined) return undefined
    if (typeof value !== "string") throw invalid(name, `{unacceptable_type,${wireType(value)}}`)
    return value
  }

  const deadLetterExchange = args["x-dead-letter-exchange"]
  if (deadLetterExchange !== undefined && typeof deadLetterExchange !== "string") {
    throw preconditionFailed(
      `invalid type '${wireType(deadLetterExchange)}' for arg 'x-dead-letter-exchange' in ${what}`
    )
  }
  const type = text("x-queue-type") ?? "classic"
  if (type !== "classic" && type !== "quorum" && type !== "stream") {
    throw invalid("x-queue-type", `"unsupported queue type '${type}'"`)
  }
  if (args["x-queue-master-locator"] !== undefined && dialect.deniesMasterLocator) {
    throw internalErrorFor(deprecated("queue_master_locator"))
  }
  const master = args["x-queue-master-locator"]
  if (master !== undefined && dialect.failsAtMasterLocator && !masters.has(master)) throw internalError
  if (type === "classic" && args["x-queue-leader-locator"] !== undefined && !dialect.hasClassicLeaders) {
    throw preconditionFailed(`invalid arg 'x-queue-leader-locator' for ${what} of queue type rabbit_classic_queue`)
  }
  const timeout = args["x-consumer-timeout"]
  if (timeout !== undefined && type !== "quorum" && dialect.takesBack) {
    throw preconditionFailed(`invalid arg 'x-consumer-timeout' for ${what} of queue type rabbit_${type}_queue`)
  }
  for (const name of unsupported[type]) {
    if (args[name] !== undefined) {
      throw preconditionFailed(`invalid arg '${name}' for ${what} of queue type rabbit_${type}_queue`)
    }
  }
  if (type !== "classic") {
    const properties = [
      ["non-durable", !declaration.durable],
      ["auto-delete", declaration.autoDelete],
      ["exclusive-owner", declaration.exclusive]
    ] as const
    for (const [property, isSet] of properties) {
      if (isSet) throw preconditionFailed(`invalid property '${property}' for ${what}`)
    }
  }
  const singleActiveConsumer = args["x-single-active-consumer"] ?? false
  if (typeof singleActiveConsumer !== "boolean") {
    throw invalid("x-single-active-consumer", `{unacceptable_type,${wireType(singleActiveConsumer)}}`)
  }
  const mode = text("x-queue-mode")
  if (mode !== undefined && mode !== "default" && mode !== "lazy") {
    throw invalid("x-queue-mode", `"unsupported queue mode '${mode}'"`)
  }
  const overflow = text("x-overflow") ?? "drop-head"
  if (!overflows.has(overflow)) throw invalid("x-overflow", "invalid_overflow")
  const deadLetterRoutingKey = text("x-dead-letter-routing-key")
  if (deadLetterRoutingKey !== undefined && deadLetterExchange === undefined) {
    throw invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
  }
  const leader = text("x-queue-leader-locator")
  if (leader !== undefined && !leaders.has(leader)) throw invalid("x-queue-leader-locator", "invalid_queue_locator_arg")
  const age = text("x-max-age")
  const maxAge = age === undefined ? undefined : readAge(age)
  if (age !== undefined && (maxAge === undefined || maxAge === 0)) {
    throw dialect.failsAtAge && !/^\d/.test(age) ? internalError : invalid("x-max-age", "invalid_max_age")
  }
  const limit = args["x-delivery-limit"]
  return {
    type,
    messageTtl: whole("x-message-ttl", 0, longestExpiry),
    expires: whole("x-expires", 1, longestExpiry),
    maxLength: whole("x-max-length", 0, Number.MAX_SAFE_INTEGER),
    maxLengthBytes: whole("x-max-length-bytes", 0, Number.MAX_SAFE_INTEGER),
    overflow: overflow as Overflow,
    deadLetterExchange,
    deadLetterRoutingKey,
    deadLettersAtLeastOnce: type === "quorum" && overflow === "reject-publish" &&
      text("x-dead-letter-strategy") === "at-least-once",
    maxPriority: whole("x-max-priority", 0, 255) ?? 0,
    singleActiveConsumer,
    // RabbitMQ accepts any value here, and reads only whole numbers.
    deliveryLimit: typeof limit !== "number" || !Number.isInteger(limit)
      ? dialect.deliveryLimit
      : limit < 0 && dialect.readsNegativeLimit
      ? undefined
      : limit,
    consumerTimeout: dialect.takesBack
      ? whole("x-consumer-timeout", 0, Number.MAX_SAFE_INTEGER)
      : dialect.readsConsumerTimeout && typeof timeout === "number"
      ? timeout
      : undefined,
    maxAge,
    segmentBytes: whole("x-stream-max-segment-size-bytes", 0, Number.MAX_SAFE_INTEGER) ?? defaultSegmentBytes
  }
}
