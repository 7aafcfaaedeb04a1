/**
 * Messages as applications write and read them.
 */
import type * as Duration from "effect/Duration"
import type { Named } from "./internal/named.ts"
import { TypedNumber } from "./internal/typedNumber.ts"

/**
 * A value in a header table. A whole number gets the smallest AMQP integer type that holds it, another number becomes a
 * double; {@link int64} and the like choose the type. Integers beyond 2^53 are `bigint`, both ways. A `Date` becomes an
 * AMQP timestamp, which has whole seconds.
 *
 * @see https://www.rabbitmq.com/amqp-0-9-1-errata (section 3, field types)
 * @category models
 * @since 0.1.0
 */
export type HeaderValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | Uint8Array
  | TypedNumber
  | ReadonlyArray<HeaderValue>
  | { readonly [key: string]: HeaderValue | undefined }

/**
 * A header table. An entry that is `undefined` is left out.
 *
 * @category models
 * @since 0.1.0
 */
export interface Headers {
  readonly [key: string]: HeaderValue | undefined
}

/**
 * The header table of a received message, to be sent again with whatever is in it.
 *
 * @category models
 * @since 0.2.0
 */
export interface ReceivedHeaders {
  /** The entries of the table as they are on the wire. */
  readonly entries: Uint8Array
  /** Says that an entry is not sent again, by its name. */
  readonly leavesOut: (name: string) => boolean
}

/**
 * The properties of a message that an application may set, all optional.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessageProperties {
  /** MIME type of the body. Defaults to that of UTF-8 text or of JSON, and for bytes to none. */
  readonly contentType?: string | undefined
  readonly contentEncoding?: string | undefined
  readonly headers?: Headers | undefined
  /**
   * The header table of a received message, which is sent byte by byte. `headers` are added to it, and replace entries
   * of the same name. {@link forward} sets it.
   *
   * @since 0.2.0
   */
  readonly receivedHeaders?: ReceivedHeaders | undefined
  /** Lets a durable queue keep the message on disk, so that it outlives a restart of the broker. Defaults to `true`. */
  readonly persistent?: boolean | undefined
  /**
   * From 0 to 255, for classic queues with `maxPriority`, and for quorum queues: RabbitMQ 4.0 tells those above 4 from
   * the others, and 4.3 has 32 priorities.
   */
  readonly priority?: number | undefined
  readonly correlationId?: string | undefined
  readonly replyTo?: string | undefined
  /** Bounds the time that the message waits in a queue, in whole milliseconds up to 49.7 days. */
  readonly expiration?: Duration.Input | undefined
  /**
   * Identifies the message: it correlates a return with its publish, and lets a consumer drop duplicates. Keep it when
   * you publish a message again. Defaults to a new UUID.
   */
  readonly messageId?: string | undefined
  readonly timestamp?: Date | undefined
  readonly type?: string | undefined
  /**
   * The user that publishes. RabbitMQ refuses another one than the user of the connection, unless that has the tag
   * `impersonator`.
   */
  readonly userId?: string | undefined
  readonly appId?: string | undefined
}

/**
 * Names what an object of data does not have, and what an `Effect`, a promise, a function, a stream, a `Map`, a `Set`,
 * a
 * `Blob` and the like have: they do not compile as a body.
 */
interface NotABody {
  readonly then?: never
  readonly arrayBuffer?: never
  readonly "~effect/Effect"?: never
  readonly "~effect/Stream"?: never
  readonly "~effect/Layer"?: never
  readonly "~effect/Fiber"?: never
  readonly "~effect/Redacted"?: never
  readonly [Symbol.iterator]?: never
  readonly [Symbol.asyncIterator]?: never
  readonly [Symbol.hasInstance]?: never
  readonly [Symbol.match]?: never
}

/**
 * What a body can be. Text is sent as UTF-8, bytes as they are, and any other value as JSON. Bytes are not copied, so
 * do not change them before the publish has ended.
 *
 * A value that JSON cannot express is refused with `EncodeError`, wherever in the body it is, and does not compile
 * where types can tell: an `Effect`, a promise, a function, a `Map`, a `Set`, an error, NaN, an invalid date, a bigint.
 * `undefined` is left out of an object, as usual, and refused in a list.
 *
 * @category models
 * @since 0.1.0
 */
export type Body =
  | string
  | ArrayBuffer
  | ArrayBufferView
  | number
  | boolean
  | null
  | ReadonlyArray<unknown>
  | (object & NotABody)
  | ({ readonly [key: string]: unknown } & NotABody)

/**
 * A message to publish.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message extends MessageProperties {
  /** An exchange, by name or as a value of `AmqpTopology`. Defaults to `""`, the default exchange. */
  readonly exchange?: Named<"Exchange"> | undefined
  /** Routes the message. On the default exchange it is the name of the queue. */
  readonly routingKey: string
  readonly body: Body
  /**
   * Fails the publish with `Unroutable` when no queue would get the message; with `false` the broker drops the message
   * and confirms it. Use `false` for a delayed-message exchange, and for a reply to `amq.rabbitmq.reply-to.…`, which is
   * no queue: before 4.3 RabbitMQ delivers the reply and also returns it. Defaults to `true`.
   */
  readonly mandatory?: boolean | undefined
}

/**
 * A message as it came, from any publisher: an `AmqpDelivery.Delivery` is one.
 *
 * @category models
 * @since 0.2.0
 */
export interface Received {
  readonly exchange: string
  readonly routingKey: string
  readonly body: Uint8Array
  readonly properties: {
    readonly contentType?: string | undefined
    readonly contentEncoding?: string | undefined
    readonly headers?: Headers | undefined
    readonly rawHeaders?: Uint8Array | undefined
    readonly deliveryMode?: number | undefined
    readonly priority?: number | undefined
    readonly correlationId?: string | undefined
    readonly replyTo?: string | undefined
    readonly expiration?: string | undefined
    readonly messageId?: string | undefined
    readonly timestamp?: number | undefined
    readonly type?: string | undefined
    readonly appId?: string | undefined
  }
}

/**
 * Where {@link forward} sends a message, and what is to differ from the message as it came. A property that is given as
 * `undefined` is left out.
 *
 * @category options
 * @since 0.2.0
 */
export interface ForwardOptions extends MessageProperties {
  /**
   * Defaults to the default exchange with a `routingKey`, and without one to the exchange that the message came from.
   */
  readonly exchange?: Message["exchange"]
  /** Defaults to the routing key that the message came with. */
  readonly routingKey?: string | undefined
  /** Headers to add or to replace. One that is `undefined` is removed. */
  readonly headers?: Headers | undefined
  /**
   * Keeps what the headers say of earlier attempts, so that a retry goes on counting and a message that was parked is
   * parked again at its next failure; or resets it, so that the next attempt is the first. Defaults to `"keep"`.
   */
  readonly attempts?: "keep" | "reset" | undefined
  readonly mandatory?: boolean | undefined
}

// Of what becomes of a message at the broker.
const ofBroker = /^x-(?:death|delivery-count|acquired-count|(?:first|last)-death-.*)$/
// Of what AmqpConsumer.retry did with it. Where the message was first published to is no attempt, and stays.
const ofRetry = /^x-(?:retry-(?:attempt|queue)|parked-.*)$/

/** Reads seconds since 1970 as a Date that can be written again; none for what no Date can hold. */
const dateOf = (seconds: number | undefined): Date | undefined => {
  if (seconds === undefined || seconds < 0) return undefined
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? undefined : date
}

/**
 * Makes a message of one that was received, to send it on: body, properties and headers as they came. It keeps its
 * message id, by which readers drop duplicates, and its time to live begins anew.
 *
 * The routes in its headers `CC` and `BCC` are left out, because the broker would send it there again; the user id,
 * because RabbitMQ refuses the id of another user than the one that publishes; and the offset in the stream that it came
 * from.
 *
 * Acknowledge the delivery when the publish has succeeded: what fails between the two comes twice, and is not lost.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import type { AmqpDelivery } from "effect-amqp"
 * import { AmqpMessage, AmqpPublisher } from "effect-amqp"
 *
 * const sendBack = Effect.fnUntraced(function*(delivery: AmqpDelivery.Delivery) {
 *   const publisher = yield* AmqpPublisher.AmqpPublisher
 *   yield* publisher.publish(AmqpMessage.forward(delivery, { routingKey: "orders", attempts: "reset" }))
 *   yield* delivery.ack()
 * })
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const forward = (received: Received, options: ForwardOptions = {}): Message => {
  const { attempts, headers: changed, ...rest } = options
  const { body, properties } = received
  const leavesOut = (name: string): boolean =>
    name === "CC" || name === "BCC" || name === "x-stream-offset" ||
    (attempts === "reset" && (ofBroker.test(name) || ofRetry.test(name)))
  return {
    contentType: properties.contentType,
    contentEncoding: properties.contentEncoding,
    persistent: properties.deliveryMode === 2,
    priority: properties.priority,
    correlationId: properties.correlationId,
    replyTo: properties.replyTo,
    expiration: properties.expiration === undefined ? undefined : Number(properties.expiration),
    messageId: properties.messageId,
    timestamp: dateOf(properties.timestamp),
    type: properties.type,
    appId: properties.appId,
    ...rest,
    exchange: options.exchange ?? (options.routingKey === undefined ? received.exchange : ""),
    routingKey: options.routingKey ?? received.routingKey,
    ...headersOf(properties, leavesOut, changed),
    body
  }
}

/** Keeps headers as bytes where they are there as bytes: what only another client understands is not changed. */
const headersOf = (
  properties: Received["properties"],
  leavesOut: (name: string) => boolean,
  changed: Headers | undefined
): Pick<MessageProperties, "headers" | "receivedHeaders"> => {
  const { rawHeaders } = properties
  if (rawHeaders !== undefined) return { headers: changed, receivedHeaders: { entries: rawHeaders, leavesOut } }
  const kept: Record<string, HeaderValue | undefined> = {}
  for (const [name, value] of Object.entries(properties.headers ?? {})) if (!leavesOut(name)) kept[name] = value
  return { headers: { ...kept, ...changed } }
}

/**
 * Sends a whole number from -128 to 127 in a header as the AMQP type of 8 bits with a sign. A publish of any other
 * number fails with `InvalidMessage`.
 *
 * @category headers
 * @since 0.2.0
 */
export const int8 = (value: number): TypedNumber => new TypedNumber("int8", value)

/**
 * Sends a whole number from -32,768 to 32,767 in a header as the AMQP type of 16 bits with a sign. A publish of any
 * other number fails with `InvalidMessage`.
 *
 * @category headers
 * @since 0.2.0
 */
export const int16 = (value: number): TypedNumber => new TypedNumber("int16", value)

/**
 * Sends a whole number from -2^31 to 2^31 - 1 in a header as the AMQP type of 32 bits with a sign. A publish of any
 * other number fails with `InvalidMessage`.
 *
 * @category headers
 * @since 0.2.0
 */
export const int32 = (value: number): TypedNumber => new TypedNumber("int32", value)

/**
 * Sends a whole number from -2^63 to 2^63 - 1 in a header as the AMQP type of 64 bits with a sign. A publish of any
 * other number fails with `InvalidMessage`.
 *
 * @category headers
 * @since 0.2.0
 */
export const int64 = (value: number | bigint): TypedNumber => new TypedNumber("int64", value)

/**
 * Sends a whole number from 0 to 255 in a header as the AMQP type of 8 bits without a sign. A publish of any other
 * number fails with `InvalidMessage`.
 *
 * @category headers
 * @since 0.2.0
 */
export const uint8 = (value: number): TypedNumber => new TypedNumber("uint8", value)

/**
 * Sends a whole number from 0 to 65,535 in a header as the AMQP type of 16 bits without a sign. A publish of any other
 * number fails with `InvalidMessage`.
 *
 * @category headers
 * @since 0.2.0
 */
export const uint16 = (value: number): TypedNumber => new TypedNumber("uint16", value)

/**
 * Sends a whole number from 0 to 2^32 - 1 in a header as the AMQP type of 32 bits without a sign. A publish of any
 * other number fails with `InvalidMessage`.
 *
 * @category headers
 * @since 0.2.0
 */
export const uint32 = (value: number): TypedNumber => new TypedNumber("uint32", value)

/**
 * Sends a number in a header as the AMQP type `float`, which has 32 bits.
 *
 * @category headers
 * @since 0.2.0
 */
export const float32 = (value: number): TypedNumber => new TypedNumber("float32", value)

/**
 * Sends a number in a header as the AMQP type `double`, whole numbers too.
 *
 * @category headers
 * @since 0.2.0
 */
export const float64 = (value: number): TypedNumber => new TypedNumber("float64", value)

/**
 * Sends a number in a header as the AMQP type `decimal`: digits from 0 to 2^32 - 1, of which so many, from 0 to 255,
 * stand behind the point.
 *
 * @example
 * ```ts
 * import { AmqpMessage } from "effect-amqp"
 *
 * const price = AmqpMessage.decimal(1999, 2) // 19.99
 * ```
 *
 * @category headers
 * @since 0.2.0
 */
export const decimal = (digits: number, places: number): TypedNumber => new TypedNumber("decimal", digits, places)
