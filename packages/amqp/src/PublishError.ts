/**
 * Lists the ways in which a publish can fail: one error with a closed set of reasons, each of which says if the broker
 * may have the message nevertheless.
 *
 * `published: "no"` means that no queue has the message: to publish it again cannot make a duplicate.
 * `published: "unknown"` means that the message was written and that its outcome was not learned: to publish it again
 * may make a duplicate, which carries the same `messageId`.
 *
 * Handle one reason with `Effect.catchReason("PublishError", "Unroutable", …)`, several with `Effect.catchReasons`;
 * turn the reasons into the errors of an effect with `Effect.unwrapReason("PublishError")`.
 *
 * @see https://www.rabbitmq.com/docs/confirms
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Predicate from "effect/Predicate"
import type { AmqpError } from "./AmqpError.ts"
import type { Message } from "./AmqpMessage.ts"
import { Reason } from "./internal/reason.ts"

const TypeId = "~effect-amqp/PublishError"

/**
 * Says if the broker may have a message whose publish failed: `no`, or `unknown`.
 *
 * @category models
 * @since 0.1.0
 */
export type Published = "no" | "unknown"

/**
 * No queue is bound for the exchange and routing key, and no alternate exchange took the message (`basic.return`).
 *
 * @category reasons
 * @since 0.1.0
 */
export class Unroutable extends Reason("Unroutable")<{
  readonly published: Published
  readonly exchange: string
  readonly routingKey: string
  readonly replyCode: number
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `no queue is bound to the exchange "${this.exchange}" for the routing key "${this.routingKey}" ` +
      `(${this.replyCode} ${this.replyText}). Bind one, or publish with mandatory: false if dropping it is right`
  }
}

/**
 * The broker refused the message (`basic.nack`): a queue is full and rejects, or failed. `published` is `unknown`,
 * because other queues that the message was routed to may have their copy.
 *
 * @category reasons
 * @since 0.1.0
 */
export class Nacked extends Reason("Nacked")<{
  readonly published: Published
  /** How often the broker refused it. */
  readonly times: number
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the broker refused the message ${this.times} time(s): a queue is full and set to reject, or has no majority`
  }
}

/**
 * Names what a publish was waiting for when its deadline came.
 *
 * @category models
 * @since 0.1.0
 */
export type WaitingFor =
  | "connection"
  | "channel"
  | "unblocked"
  | "socket"
  | "window"
  | "quarantine"
  | "confirm"
  | "retry"

const waitingText: Record<WaitingFor, string> = {
  connection: "the connection was down, or still being set up",
  channel: "the publisher's channel was being replaced",
  unblocked: "the broker has a resource alarm and blocks publishers",
  socket: "the broker did not read what was written before",
  quarantine:
    "others like the message, or in flight with it, had a channel closed, and its turn to go alone did not come",
  window: "all places in flight were taken by messages that the broker has not confirmed",
  confirm: "the message was written, and the broker has not confirmed it",
  retry: "the broker had refused the message, and it was to be sent again"
}

/**
 * The deadline came before the confirm; a late confirm is absorbed.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ConfirmTimeout extends Reason("ConfirmTimeout")<{
  readonly published: Published
  readonly millis: number
  readonly waitingFor: WaitingFor
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `no confirm within ${this.millis} ms: ${waitingText[this.waitingFor]}`
  }
}

/**
 * The connection ended before the confirm came, and the publisher is set not to publish unconfirmed messages again; or
 * the broker closed the connection because of the message.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ConnectionLost extends Reason("ConnectionLost")<{
  readonly published: Published
  readonly cause: AmqpError
  /** Is `true` if the broker closed the connection when the message was the only one that can be the cause. */
  readonly isCulprit: boolean
}> {
  get isRetryable(): boolean {
    return !this.isCulprit
  }
  override get message(): string {
    return this.isCulprit
      ? `the broker closes the connection because of the message, which was sent alone at last: ` +
        `${this.cause.reason.message}. Do not send it again as it is`
      : `the connection was lost before the confirm came: ${this.cause.reason.message}`
  }
}

/**
 * The channel was closed before the confirm came, and the publisher is set not to publish unconfirmed messages again.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ChannelClosed extends Reason("ChannelClosed")<{
  readonly published: Published
  readonly cause: AmqpError
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the channel was closed before the confirm came: ${this.cause.reason.message}`
  }
}

/**
 * The exchange does not exist.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ExchangeNotFound extends Reason("ExchangeNotFound")<{
  readonly published: Published
  readonly exchange: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the exchange "${this.exchange}" does not exist. Declare it first, for example with AmqpTopology.layer`
  }
}

/**
 * The user may not publish to the exchange, or the exchange is internal.
 *
 * @category reasons
 * @since 0.1.0
 */
export class AccessRefused extends Reason("AccessRefused")<{
  readonly published: Published
  readonly exchange: string
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `publishing to the exchange "${this.exchange}" was refused (${this.replyText})`
  }
}

/**
 * The body is larger than the publisher or the broker allows.
 *
 * @category reasons
 * @since 0.1.0
 */
export class TooLarge extends Reason("TooLarge")<{
  readonly published: Published
  readonly bytes: number
  readonly limit: number
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the body has ${this.bytes} bytes, and at most ${this.limit} are allowed: store it elsewhere and send a ` +
      `reference, or raise maxMessageBytes and the broker's max_message_size`
  }
}

/**
 * The body cannot be made into bytes.
 *
 * @category reasons
 * @since 0.1.0
 */
export class EncodeError extends Reason("EncodeError")<{
  readonly published: Published
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the body cannot be encoded: ${this.detail}`
  }
}

/**
 * A property, header or name cannot be put on the wire; nothing was sent.
 *
 * @category reasons
 * @since 0.1.0
 */
export class InvalidMessage extends Reason("InvalidMessage")<{
  readonly published: Published
  readonly field: string
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `"${this.field}" is invalid: ${this.detail}`
  }
}

/**
 * As many messages wait as may, and the publisher is set not to keep more.
 *
 * @category reasons
 * @since 0.1.0
 */
export class Full extends Reason("Full")<{
  readonly published: Published
  /** How many other messages were waiting. */
  readonly waiting: number
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `${this.waiting} messages are waiting already, and the publisher is set not to keep more`
  }
}

/**
 * The connection is finished: its retry budget is spent, or it failed in a way that does not heal.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ReconnectAbandoned extends Reason("ReconnectAbandoned")<{
  readonly published: Published
  readonly cause: AmqpError
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return this.cause.reason.message
  }
}

/**
 * The publisher's scope ended before the confirm came, or before this publish.
 *
 * @category reasons
 * @since 0.1.0
 */
export class PublisherClosed extends Reason("PublisherClosed")<{
  readonly published: Published
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return "the publisher was closed"
  }
}

/**
 * Lists the reasons for which a publish can fail; the set is closed.
 *
 * @category reasons
 * @since 0.1.0
 */
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
 * Says which message failed, for which reason, and if the broker may have it.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpPublisher } from "effect-amqp"
 *
 * const message = { exchange: "orders", routingKey: "order.42.paid", messageId: "order-42", body: { id: 42 } }
 *
 * const program = AmqpPublisher.AmqpPublisher.use((publisher) => publisher.publish(message)).pipe(
 *   Effect.catchReasons("PublishError", {
 *     Unroutable: ({ routingKey }) => Effect.logWarning(`nobody is bound to ${routingKey}`),
 *     ConfirmTimeout: ({ published }) =>
 *       Effect.logWarning(published === "unknown" ? "RabbitMQ may have the message" : "RabbitMQ has it not")
 *   })
 * )
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class PublishError extends Reason("PublishError")<{
  readonly reason: PublishErrorReason
  readonly messageId: string | undefined
}> {
  /** Identifies the class at run time. */
  get [TypeId](): typeof TypeId {
    return TypeId
  }

  override get message(): string {
    return this.reason === undefined ? "" : `publish: ${this.reason.message}`
  }

  /** Says if the broker may have the message. */
  get published(): Published {
    return this.reason.published
  }

  /** Tells if the same message may be confirmed later without anything being changed by hand. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/**
 * Tells if a value is a {@link PublishError}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPublishError = (u: unknown): u is PublishError => Predicate.hasProperty(u, TypeId)

/**
 * Describes one message of a batch or a stream that was not confirmed.
 *
 * @category models
 * @since 0.1.0
 */
export interface BatchFailure {
  /** Its place in the batch or the stream, from 0. */
  readonly index: number
  readonly message: Message
  readonly error: PublishError
}

/**
 * Says which messages of a batch were not confirmed and why; all others were confirmed.
 *
 * @category errors
 * @since 0.1.0
 */
export class BatchError extends Reason("BatchError")<{
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

  // Without the messages themselves: their bodies are the application's, and none of a log's business.
  override toJSON(): unknown {
    const { _tag, confirmed, failures, message } = this
    return {
      _tag,
      message,
      confirmed,
      failures: failures.map(({ error, index }) => ({ index, error: error.toJSON() }))
    }
  }
}
