/**
 * Messages as applications write and read them.
 */
import type * as Duration from "effect/Duration"
import type { Named } from "./internal/named.ts"
import type { TypedNumber } from "./internal/typedNumber.ts"

/**
 * A value in a header table. Whole numbers keep the smallest AMQP integer type that holds them, others become doubles;
 * a `Date` becomes an AMQP timestamp, which has whole seconds. RabbitMQ reads strings as UTF-8.
 *
 * @see https://www.rabbitmq.com/amqp-0-9-1-errata (section 3, field types)
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

/** A header table; an entry that is `undefined` is left out. */
export interface Headers {
  readonly [key: string]: HeaderValue | undefined
}

/** The properties of a message that an application may set, all optional. */
export interface MessageProperties {
  /** MIME type of the body; by default that of JSON or of UTF-8 text if it is one, and none for bytes. */
  readonly contentType?: string | undefined
  readonly contentEncoding?: string | undefined
  readonly headers?: Headers | undefined
  /** Whether the broker writes it to disk in a durable queue; `true` by default. */
  readonly persistent?: boolean | undefined
  /** 0 to 255, for queues with `x-max-priority`. */
  readonly priority?: number | undefined
  readonly correlationId?: string | undefined
  readonly replyTo?: string | undefined
  /** How long the message may wait in a queue, in whole milliseconds. */
  readonly expiration?: Duration.Input | undefined
  /**
   * Identifies the message; made up when absent. It correlates a return with its publish, and lets a consumer drop
   * duplicates: keep it when a message is published again.
   */
  readonly messageId?: string | undefined
  readonly timestamp?: Date | undefined
  readonly type?: string | undefined
  /** If set it must be the user that the connection authenticated as: RabbitMQ checks it. */
  readonly userId?: string | undefined
  readonly appId?: string | undefined
}

/**
 * Names what an object of data does not have, and what an `Effect`, a promise, a function, a stream, a `Map`, a `Set`, a
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
 * What a body can be. Text is sent as UTF-8, bytes as they are, and any other value as JSON. Bytes are not copied, so do
 * not change them before the publish has ended.
 *
 * A value that JSON cannot express is refused with `EncodeError`, wherever in the body it is, and does not compile where
 * types can tell: an `Effect`, a promise, a function, a `Map`, a `Set`, an error, NaN, an invalid date, a bigint.
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

/** A message to publish. */
export interface Message extends MessageProperties {
  /** An exchange, by name or as a value of `AmqpTopology`; by default the default exchange, `""`. */
  readonly exchange?: Named<"Exchange"> | undefined
  /** On the default exchange: the name of the queue. */
  readonly routingKey: string
  readonly body: Body
  /**
   * Whether a message that no queue would get fails with `Unroutable` (`true`, the default) or is confirmed and
   * dropped. A delayed-message exchange wants `false`, and so does a reply to `amq.rabbitmq.reply-to.…`, which is no
   * queue: before 4.3 RabbitMQ delivers it and returns it all the same.
   */
  readonly mandatory?: boolean | undefined
}
