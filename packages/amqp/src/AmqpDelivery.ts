/**
 * Messages as the broker delivers them, and how they are settled.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { DriverDelivery, WireProperties } from "./AmqpDriver.ts"
import type { Headers } from "./AmqpMessage.ts"
import type { Codec, Decoder } from "./Codec.ts"
import * as JsonBody from "./internal/body/json.ts"
import { plainBody } from "./internal/body/plainBody.ts"
import type { Acknowledgements, Origin } from "./internal/delivery/acknowledgements.ts"
import * as Attempts from "./internal/delivery/retryHeaders.ts"
import { mayHaveHeader, readableHeaders, withUserId } from "./internal/wire/properties.ts"

/**
 * The body of a delivery is not what its reader expects. `AmqpConsumer` hands it to the failure policy.
 *
 * @category errors
 * @since 0.1.0
 */
export class DecodeError extends Data.TaggedError("DecodeError")<{
  readonly queue: string
  readonly messageId: string | undefined
  /** The property `type` of the message. */
  readonly type: string | undefined
  /** The header `x-schema-version` of the message, see `AmqpContract`. */
  readonly version: unknown
  readonly detail: string
}> {
  override get message(): string {
    const type = this.type === undefined ? "" : `, type "${this.type}"`
    const version = this.version === undefined ? "" : `, version ${String(this.version)}`
    return `the body of message ${this.messageId ?? "without an id"} of "${this.queue}"${type}${version} ` +
      `cannot be decoded: ${this.detail}`
  }
}

/**
 * A message that the broker handed over, and that is to be acknowledged on the channel it came by.
 *
 * @category models
 * @since 0.1.0
 */
export class Delivery {
  /** The number of the session that delivered it; a delivery of an earlier session cannot be acknowledged any more. */
  readonly epoch: number
  readonly deliveryTag: number
  /** The queue that it came from; for a server-named queue the label that the queue has in the topology. */
  readonly queue: string
  /** Says that it may have been delivered before, which does not mean that a handler saw it. */
  readonly redelivered: boolean
  /** The exchange that it was first published to; `AmqpConsumer.retry` keeps it, and the routing key too. */
  readonly exchange: string
  readonly routingKey: string
  readonly properties: WireProperties
  readonly body: Uint8Array
  readonly #channel: Acknowledgements | undefined
  /** What the broker calls the queue. */
  readonly #queueName: string
  #settled = false

  /** @internal */
  constructor(
    from: DriverDelivery,
    epoch: number,
    channel: Acknowledgements | undefined,
    queue: string,
    queueName: string
  ) {
    this.epoch = epoch
    this.deliveryTag = from.deliveryTag
    this.queue = queue
    this.redelivered = from.redelivered
    this.exchange = from.exchange
    this.routingKey = from.routingKey
    this.properties = from.properties
    this.body = from.body
    this.#channel = channel
    this.#queueName = queueName
    // A delayed message comes back through the default exchange.
    if (from.exchange === "" && mayHaveHeader(from.properties, Attempts.exchangeHeader)) {
      const headers = readableHeaders(from.properties) ?? {}
      const exchange = headers[Attempts.exchangeHeader]
      const routingKey = headers[Attempts.routingKeyHeader]
      if (typeof exchange === "string" && typeof routingKey === "string") {
        this.exchange = exchange
        this.routingKey = routingKey
        const userId = headers[Attempts.userIdHeader]
        if (typeof userId === "string") this.properties = withUserId(from.properties, userId)
      }
    }
  }

  get messageId(): string | undefined {
    return this.properties.messageId
  }

  /** The headers; throws an error that says why if they cannot be read, which costs the body nothing. */
  get headers(): Headers {
    return this.properties.headers ?? {}
  }

  /**
   * The number of this attempt at the message, counted from 1, as far as its headers tell:
   *
   * - `x-retry-attempt` if `AmqpConsumer.retry` delayed it for this queue; otherwise one more than `x-death` says that
   *   this queue rejected it, where expiry in a queue does not count;
   * - and to that `x-delivery-count`, by which quorum queues count how often they delivered it before;
   * - at least 2 if it is `redelivered`: a classic queue says no more than that.
   *
   * @see https://www.rabbitmq.com/docs/dlx
   * @see https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
   */
  get attempts(): number {
    return Attempts.attempts(readableHeaders(this.properties), this.#queueName, this.redelivered)
  }

  /** Says that the channel that it came by is gone: it comes again, and acknowledging it writes nothing. */
  get isStale(): boolean {
    return this.#channel !== undefined && !this.#channel.isOpen
  }

  /** Reads the body as UTF-8 text, decompressed if it is gzip; fails with {@link DecodeError} if it is no text. */
  get text(): Effect.Effect<string, DecodeError> {
    return this.#read(JsonBody.text)
  }

  /**
   * Reads the body as JSON by a schema: what `Codec.json` wrote, and the plain JSON of any other publisher. Fails with
   * {@link DecodeError} if the schema refuses it.
   *
   * @example
   * ```ts
   * import { Effect, Schema } from "effect"
   * import { AmqpConsumer } from "effect-amqp"
   *
   * const Order = Schema.Struct({ id: Schema.Number })
   *
   * const Worker = AmqpConsumer.layer(
   *   "invoices",
   *   (delivery) => Effect.flatMap(delivery.json(Order), (order) => Effect.log(`order ${order.id}`))
   * )
   * ```
   */
  json<S extends Schema.Constraint>(schema: S): Effect.Effect<S["Type"], DecodeError, S["DecodingServices"]> {
    return this.#read(JsonBody.decoder(schema) as Decoder<S>)
  }

  /**
   * Reads the body by a codec and a schema, decompressed if it is gzip. Fails with {@link DecodeError} if the body is
   * not what the codec reads, or the schema refuses it.
   *
   * @example
   * ```ts
   * import { Effect, Schema } from "effect"
   * import { AmqpConsumer, Codec } from "effect-amqp"
   *
   * const Order = Schema.Struct({ id: Schema.Number })
   *
   * const Worker = AmqpConsumer.layer(
   *   "invoices",
   *   (delivery) =>
   *     Effect.flatMap(delivery.decode(Codec.schemaBinary, Order), (order) => Effect.log(`order ${order.id}`))
   * )
   * ```
   * @since 0.2.0
   */
  decode<S extends Schema.Constraint>(
    codec: Codec,
    schema: S
  ): Effect.Effect<S["Type"], DecodeError, S["DecodingServices"]> {
    return this.#read(codec.decoder(schema))
  }

  #read<A, R>(
    decode: (body: Uint8Array) => Effect.Effect<A, { readonly message: string }, R>
  ): Effect.Effect<A, DecodeError, R> {
    return Effect.suspend(() => {
      const body = plainBody(this.properties, this.body)
      return Effect.mapError(
        body instanceof Uint8Array ? decode(body) : Effect.flatMap(body, decode),
        ({ message }) =>
          new DecodeError({
            queue: this.queue,
            messageId: this.messageId,
            type: this.properties.type,
            version: readableHeaders(this.properties)?.["x-schema-version"],
            detail: message
          })
      )
    })
  }

  /**
   * Tells the broker that the message was handled, and with `multiple` all messages before it on its channel. Each
   * delivery is settled once. Returns `false` if nothing was written: the delivery was settled before, or its channel is
   * gone, so that the broker has put the message back already and it comes again.
   */
  ack(options?: { readonly multiple?: boolean | undefined }): Effect.Effect<boolean> {
    return Effect.sync(() => this.ackUnsafe(options?.multiple === true))
  }

  /**
   * Refuses the message, otherwise as {@link ack}: it goes to the dead letter exchange, or with `requeue` back into its
   * queue. Quorum queues of RabbitMQ 4.3 do not count a nack against the delivery limit; they count {@link reject}.
   */
  nack(
    options?: { readonly requeue?: boolean | undefined; readonly multiple?: boolean | undefined }
  ): Effect.Effect<boolean> {
    return Effect.sync(() => this.nackUnsafe(options?.multiple === true, options?.requeue === true))
  }

  /** Refuses the message by `basic.reject`, otherwise as {@link nack}: for a message whose handler failed. */
  reject(options?: { readonly requeue?: boolean | undefined }): Effect.Effect<boolean> {
    return Effect.sync(() => this.rejectUnsafe(options?.requeue === true))
  }

  /** @internal */
  get origin(): Origin | undefined {
    return this.#channel?.origin
  }

  /** @internal Says that it came of a stream, where every fate ends in an acknowledgement. */
  get isAcknowledgedOnly(): boolean {
    return this.#channel?.acknowledgesOnly === true
  }

  /** @internal */
  get isSettled(): boolean {
    return this.#settled || this.#channel?.isSettled(this.deliveryTag) === true
  }

  /** @internal */
  ackUnsafe(multiple: boolean): boolean {
    return this.#take()?.ack(this.deliveryTag, multiple) === true
  }

  /** @internal */
  ackSoonUnsafe(): boolean {
    return this.#take()?.ackSoon(this.deliveryTag) === true
  }

  /** @internal */
  nackUnsafe(multiple: boolean, requeue: boolean): boolean {
    return this.#take()?.nack(this.deliveryTag, multiple, requeue) === true
  }

  /** @internal */
  rejectUnsafe(requeue: boolean): boolean {
    return this.#take()?.reject(this.deliveryTag, requeue) === true
  }

  /** Returns the acknowledgements to settle it with, once. */
  #take(): Acknowledgements | undefined {
    // Without a channel the broker expects no acknowledgement, and would close the channel at one.
    if (this.#settled || this.#channel === undefined) return undefined
    this.#settled = true
    return this.#channel
  }
}
