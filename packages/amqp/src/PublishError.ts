/**
 * How a publish can fail, as one error with a closed set of reasons, each of which says whether the broker may have the
 * message all the same.
 *
 * `published: "no"` means that no queue has it: publishing again cannot make a duplicate. `published: "unknown"` means
 * that it was written and that its fate was not learned: publishing again may make a duplicate, which carries the same
 * `messageId`.
 *
 * @see https://www.rabbitmq.com/docs/confirms
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import type { AmqpError } from "./AmqpError.ts"
import type { Message } from "./AmqpMessage.ts"

const TypeId = "~effect-amqp/PublishError"

/** Whether the broker may have a message whose publish failed. */
export type Published = "no" | "unknown"

/** No queue is bound for the exchange and routing key, and no alternate exchange took it (`basic.return`). */
export class Unroutable extends Data.TaggedClass("Unroutable")<{
  readonly published: Published
  readonly exchange: string
  readonly routingKey: string
  readonly replyCode: number
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `no queue is bound to the exchange "${this.exchange}" for the routing key "${this.routingKey}" ` +
      `(${this.replyCode} ${this.replyText}). Bind one, or publish with mandatory: false if dropping it is right`
  }
}

/**
 * The broker refused it (`basic.nack`): a queue is full and rejects, or failed. Unknown, because with several queues
 * others may have their copy.
 */
export class Nacked extends Data.TaggedClass("Nacked")<{
  readonly published: Published
  readonly times: number
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the broker refused it ${this.times} time(s): a queue is full and set to reject, or has no majority`
  }
}

/** What a publish was waiting for when its deadline came. */
export type WaitingFor = "connection" | "unblocked" | "window" | "confirm" | "retry"

const waitingText: Record<WaitingFor, string> = {
  connection: "there was no connection",
  unblocked: "the broker has a resource alarm and blocks publishers",
  window: "all places in flight were taken by messages that the broker has not confirmed",
  confirm: "it was written, and the broker has not confirmed it",
  retry: "the broker had refused it, and it was to be sent again"
}

/** The deadline came before the confirm; a late confirm is absorbed. */
export class ConfirmTimeout extends Data.TaggedClass("ConfirmTimeout")<{
  readonly published: Published
  readonly millis: number
  readonly waitingFor: WaitingFor
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `no confirm within ${this.millis} ms: ${waitingText[this.waitingFor]}`
  }
}

/** The connection went before the confirm came, and unconfirmed messages are not published again by themselves. */
export class ConnectionLost extends Data.TaggedClass("ConnectionLost")<{
  readonly published: Published
  readonly cause: AmqpError
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the connection was lost before the confirm came: ${this.cause.reason.message}`
  }
}

/** The channel went before the confirm came, and unconfirmed messages are not published again by themselves. */
export class ChannelClosed extends Data.TaggedClass("ChannelClosed")<{
  readonly published: Published
  readonly cause: AmqpError
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the channel was closed before the confirm came: ${this.cause.reason.message}`
  }
}

/** The exchange does not exist. */
export class ExchangeNotFound extends Data.TaggedClass("ExchangeNotFound")<{
  readonly published: Published
  readonly exchange: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `the exchange "${this.exchange}" does not exist. Declare it first, for example with AmqpTopology.layer`
  }
}

/** The user may not publish there, or the exchange is internal. */
export class AccessRefused extends Data.TaggedClass("AccessRefused")<{
  readonly published: Published
  readonly exchange: string
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `publishing to the exchange "${this.exchange}" was refused (${this.replyText})`
  }
}

/** The body is larger than the publisher or the broker allows. */
export class TooLarge extends Data.TaggedClass("TooLarge")<{
  readonly published: Published
  readonly bytes: number
  readonly limit: number
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `the body has ${this.bytes} bytes, and at most ${this.limit} are allowed: store it elsewhere and send a ` +
      `reference, or raise maxMessageBytes and the broker's max_message_size`
  }
}

/** The body cannot be made into bytes. */
export class EncodeError extends Data.TaggedClass("EncodeError")<{
  readonly published: Published
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `the body cannot be encoded: ${this.detail}`
  }
}

/** A property, header or name cannot be put on the wire; nothing was sent. */
export class InvalidMessage extends Data.TaggedClass("InvalidMessage")<{
  readonly published: Published
  readonly field: string
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `"${this.field}" is invalid: ${this.detail}`
  }
}

/** As many messages wait or are in flight as may be, and the publisher's policy is not to wait. */
export class Full extends Data.TaggedClass("Full")<{
  readonly published: Published
  readonly waiting: number
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `${this.waiting} messages are waiting already, and the publisher is set not to keep more`
  }
}

/** The connection is finished: the retry budget is spent, or it failed in a way that does not heal. */
export class ReconnectAbandoned extends Data.TaggedClass("ReconnectAbandoned")<{
  readonly published: Published
  readonly cause: AmqpError
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return this.cause.reason.message
  }
}

/** The publisher's scope ended before the confirm came, or before this publish. */
export class PublisherClosed extends Data.TaggedClass("PublisherClosed")<{
  readonly published: Published
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return "the publisher was closed"
  }
}

/** The closed set of reasons for which a publish can fail. */
export type PublishErrorReason =
  | Unroutable
  | Nacked
  | ConfirmTimeout
  | ConnectionLost
  | ChannelClosed
  | ExchangeNotFound
  | AccessRefused
  | TooLarge
  | EncodeError
  | InvalidMessage
  | Full
  | ReconnectAbandoned
  | PublisherClosed

/**
 * A publish that failed: which message, for which reason, and whether the broker may have it.
 *
 * @example
 * ```ts
 * publisher.publish(message).pipe(
 *   Effect.catchReasons("PublishError", {
 *     Unroutable: ({ routingKey }) => Effect.logWarning(`nobody is bound to ${routingKey}`),
 *     ConfirmTimeout: ({ published }) => published === "unknown" ? outbox.keep(message) : outbox.retry(message)
 *   })
 * )
 * ```
 */
export class PublishError extends Data.TaggedError("PublishError")<{
  readonly reason: PublishErrorReason
  readonly messageId: string | undefined
}> {
  readonly [TypeId] = TypeId

  override get message(): string {
    return this.reason === undefined ? "" : `publish: ${this.reason.message}`
  }

  /** Whether the broker may have the message. */
  get published(): Published {
    return this.reason.published
  }

  /** Whether the same message may be confirmed later without anything being changed by hand. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/** Whether a value is a {@link PublishError}. */
export const isPublishError = (u: unknown): u is PublishError => Predicate.hasProperty(u, TypeId)

/** One message of a batch or a stream that was not confirmed. */
export interface BatchFailure {
  /** Its place in the batch or the stream, from 0. */
  readonly index: number
  readonly message: Message
  readonly error: PublishError
}

/** A batch of which not all messages were confirmed: which ones, and why. All others were. */
export class BatchError extends Data.TaggedError("BatchError")<{
  /** How many were confirmed. */
  readonly confirmed: number
  /** The others, in the order of the batch. */
  readonly failures: NonEmptyReadonlyArray<BatchFailure>
}> {
  override get message(): string {
    const first = this.failures?.[0]
    return first === undefined
      ? ""
      : `${this.failures.length} of ${this.failures.length + this.confirmed} messages were not confirmed; the first, ` +
        `number ${first.index}: ${first.error.message}`
  }
}
