/**
 * The port: what a transport must provide for the library to stand on it, and nothing more.
 *
 * A driver moves methods and events between the library and a broker. It knows nothing of retries, deadlines or
 * recovery. An effect of a driver may never settle, so its caller bounds it, and calls
 * {@link DriverConnection.destroyUnsafe} when the broker does not answer. Interrupting an effect of a driver abandons
 * the wait and leaks nothing.
 *
 * Events are plain callbacks. The driver calls them synchronously, in the order in which the broker sent what caused
 * them. They belong to this library, never to users, and do not throw.
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { AmqpError } from "./AmqpError.ts"
import type { Headers } from "./AmqpMessage.ts"

export { fromReplyCode, type ReplyCode } from "./internal/wire/replyCode.ts"

/**
 * TLS settings of one endpoint. Certificates and keys are PEM text or bytes, as `node:tls` takes them.
 *
 * @category options
 * @since 0.1.0
 */
export interface DriverTls {
  readonly ca?: string | Uint8Array | ReadonlyArray<string | Uint8Array> | undefined
  readonly cert?: string | Uint8Array | undefined
  readonly key?: Redacted.Redacted<string> | undefined
  /**
   * Holds the client's certificate, its key and their authorities in one PKCS #12 archive, in place of `cert` and
   * `key`.
   *
   * @since 0.2.0
   */
  readonly pfx?: Redacted.Redacted<Uint8Array> | undefined
  /** Decrypts `key` or `pfx`. */
  readonly passphrase?: Redacted.Redacted<string> | undefined
  /** Is sent as SNI and checked against the broker's certificate. Defaults to the host. */
  readonly servername?: string | undefined
  /** Defaults to `"TLSv1.2"`. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined
  /**
   * Accepts every certificate, so that anyone on the path can read and change what is sent, the password too. Defaults
   * to
   * `false`.
   *
   * @since 0.2.0
   */
  readonly insecureAcceptAnyCertificate?: boolean | undefined
}

/**
 * SASL mechanisms by which a client authenticates. `EXTERNAL` leaves it to the broker to find the user in the client's
 * certificate.
 *
 * @see https://www.rabbitmq.com/docs/access-control#mechanisms
 * @category options
 * @since 0.2.0
 */
export type Mechanism = "PLAIN" | "AMQPLAIN" | "EXTERNAL"

/**
 * Everything that one attempt to connect needs.
 *
 * @category options
 * @since 0.1.0
 */
export interface DriverConnectOptions {
  readonly host: string
  readonly port: number
  readonly tls: DriverTls | undefined
  readonly vhost: string
  /**
   * Authenticates by this mechanism. `EXTERNAL` sends neither `username` nor `password`. Defaults to `"PLAIN"`.
   *
   * @since 0.2.0
   */
  readonly mechanism?: Mechanism | undefined
  readonly username: string
  readonly password: Redacted.Redacted<string>
  /** Heartbeat in seconds. The connection uses the smaller of this and the broker's. */
  readonly heartbeat: number
  readonly connectionName: string
}

/**
 * What happens to an established connection.
 *
 * @category events
 * @since 0.1.0
 */
export interface DriverConnectionEvents {
  /** The broker raised a resource alarm and stops reading this connection. */
  readonly onBlocked: (reason: string) => void
  readonly onUnblocked: () => void
  /**
   * The connection has ended. Called once, after `onClose` of each of its channels. The error tells the
   * cause as far as it is known: `ConnectionLost` or `ProtocolFailed`; `ConnectionClosed` if the application closed it.
   */
  readonly onClose: (error: AmqpError) => void
}

/**
 * An established connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface DriverConnection {
  /** What the broker said of itself: `product`, `version`, `cluster_name` and the like. */
  readonly serverProperties: Readonly<Record<string, unknown>>
  /** The largest frame in bytes that both sides agreed on. */
  readonly frameMax: number
  /**
   * Opens a channel, with `confirm.select` if `confirm` is set. When interrupted, it closes the channel once that has
   * opened, and calls none of its events. Fails with `ChannelLimit` when all channel numbers are in use.
   */
  readonly openChannel: (
    options: { readonly confirm: boolean },
    events: DriverChannelEvents
  ) => Effect.Effect<DriverChannel, AmqpError>
  /**
   * Gives the broker a new password or token for this connection, before the old one expires
   * (`connection.update-secret`). Fails when the connection ends first, as it does when the broker refuses the secret.
   *
   * @since 0.2.0
   */
  readonly updateSecret: (secret: Redacted.Redacted<string>, reason: string) => Effect.Effect<void, AmqpError>
  /**
   * Says goodbye and waits for the answer. Messages that are still buffered may be lost: wait for their confirms first.
   */
  readonly close: Effect.Effect<void>
  /** Ends the connection at once, without a goodbye. Calls `onClose` with this error unless it was called before. */
  readonly destroyUnsafe: (error: AmqpError) => void
}

/**
 * What happens to an open channel.
 *
 * @category events
 * @since 0.1.0
 */
export interface DriverChannelEvents {
  /** `basic.ack` and `basic.nack` of published messages. `multiple` settles every open tag up to this one. */
  readonly onConfirm: (deliveryTag: number, multiple: boolean, ack: boolean) => void
  /** `basic.return`, always before the confirm of the same message. */
  readonly onReturn: (returned: DriverReturn) => void
  /** The write buffer is empty again after a publish left `isWritable` false. */
  readonly onDrain: () => void
  /** The channel has ended. Called once. `ConnectionLost` and the like if the whole connection has ended. */
  readonly onClose: (error: AmqpError) => void
}

/**
 * Ignores every event of a channel.
 *
 * @category events
 * @since 0.1.0
 */
export const noChannelEvents: DriverChannelEvents = {
  onConfirm() {},
  onReturn() {},
  onDrain() {},
  onClose() {}
}

/**
 * A message that could not be routed. It carries no delivery tag: `messageId` is what correlates it.
 *
 * @category models
 * @since 0.1.0
 */
export interface DriverReturn {
  readonly replyCode: number
  readonly replyText: string
  readonly exchange: string
  readonly routingKey: string
  readonly messageId: string | undefined
}

/**
 * Message properties as they are on the wire (AMQP 0-9-1, class basic).
 *
 * @category models
 * @since 0.1.0
 */
export interface WireProperties {
  readonly contentType?: string | undefined
  readonly contentEncoding?: string | undefined
  readonly headers?: Headers | undefined
  /** The entries of the header table as they were received; written instead of `headers` where both are there. */
  readonly rawHeaders?: Uint8Array | undefined
  /** 1 is transient, 2 is persistent. */
  readonly deliveryMode?: number | undefined
  readonly priority?: number | undefined
  readonly correlationId?: string | undefined
  readonly replyTo?: string | undefined
  /** Milliseconds, as a decimal string. */
  readonly expiration?: string | undefined
  readonly messageId?: string | undefined
  /** Seconds since 1970. */
  readonly timestamp?: number | undefined
  readonly type?: string | undefined
  readonly userId?: string | undefined
  readonly appId?: string | undefined
}

/**
 * A message ready to be written. Whoever makes one has checked it: a driver may trust it.
 *
 * @category models
 * @since 0.1.0
 */
export interface WireMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly mandatory: boolean
  readonly properties: WireProperties
  readonly body: Uint8Array
}

/**
 * A message that the broker handed over.
 *
 * @category models
 * @since 0.1.0
 */
export interface DriverDelivery {
  readonly deliveryTag: number
  readonly redelivered: boolean
  readonly exchange: string
  readonly routingKey: string
  readonly properties: WireProperties
  readonly body: Uint8Array
}

/**
 * What happens to a consumer.
 *
 * @category events
 * @since 0.1.0
 */
export interface DriverConsumerEvents {
  readonly onDelivery: (delivery: DriverDelivery) => void
  /**
   * The broker cancelled the consumer. Called once. The channel stays open. The broker does not say why: the queue was
   * deleted, its node is down, or on RabbitMQ 4.3 an acknowledgement for a quorum queue did not come in time.
   */
  readonly onCancel: () => void
}

/**
 * Arguments of declarations, bindings and consumers (`x-message-ttl`, `alternate-exchange`, …).
 *
 * @category models
 * @since 0.1.0
 */
export type Arguments = Headers

/**
 * What the broker says of a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueInfo {
  readonly queue: string
  /** Messages ready for delivery. */
  readonly messageCount: number
  readonly consumerCount: number
}

/**
 * The properties of an exchange as `exchange.declare` takes them.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExchangeDeclaration {
  readonly exchange: string
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: Arguments
}

/**
 * The properties of a queue as `queue.declare` takes them. An empty name lets the broker choose one.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueDeclaration {
  readonly queue: string
  readonly durable: boolean
  readonly exclusive: boolean
  readonly autoDelete: boolean
  readonly arguments: Arguments
}

/**
 * A binding of a queue to an exchange.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueBinding {
  readonly queue: string
  readonly exchange: string
  readonly routingKey: string
  readonly arguments: Arguments
}

/**
 * A binding of an exchange to an exchange. Messages flow from `source` to `destination`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExchangeBinding {
  readonly destination: string
  readonly source: string
  readonly routingKey: string
  readonly arguments: Arguments
}

/**
 * An open channel. The methods that end in `Unsafe` write a frame and return at once. On a channel that has ended they
 * write nothing and say so. The other methods wait for the broker's answer, and fail when the channel ends first.
 *
 * @category models
 * @since 0.1.0
 */
export interface DriverChannel {
  readonly isOpen: () => boolean
  /** False from a publish that filled the write buffer until `onDrain`. A message published meanwhile is still kept. */
  readonly isWritable: () => boolean
  /**
   * Writes a message and returns its delivery tag, counted from 1 on this channel (0 on a channel without confirms), or
   * -1 if the channel has ended. Throws an `AmqpError` with `InvalidMessage` for a message that cannot be encoded: then
   * nothing was written and no tag was used.
   */
  readonly publishUnsafe: (message: WireMessage) => number
  /** Writes `basic.ack`. Returns false if the channel has ended, so that nothing was written; likewise below. */
  readonly ackUnsafe: (deliveryTag: number, multiple: boolean) => boolean
  readonly nackUnsafe: (deliveryTag: number, multiple: boolean, requeue: boolean) => boolean
  readonly rejectUnsafe: (deliveryTag: number, requeue: boolean) => boolean

  readonly declareExchange: (exchange: ExchangeDeclaration) => Effect.Effect<void, AmqpError>
  readonly checkExchange: (exchange: string) => Effect.Effect<void, AmqpError>
  readonly deleteExchange: (exchange: string, options: { readonly ifUnused: boolean }) => Effect.Effect<void, AmqpError>
  readonly bindExchange: (binding: ExchangeBinding) => Effect.Effect<void, AmqpError>
  readonly unbindExchange: (binding: ExchangeBinding) => Effect.Effect<void, AmqpError>

  readonly declareQueue: (queue: QueueDeclaration) => Effect.Effect<QueueInfo, AmqpError>
  readonly checkQueue: (queue: string) => Effect.Effect<QueueInfo, AmqpError>
  /** Deletes a queue and returns how many messages went with it. */
  readonly deleteQueue: (
    queue: string,
    options: { readonly ifUnused: boolean; readonly ifEmpty: boolean }
  ) => Effect.Effect<number, AmqpError>
  /** Deletes the messages of a queue that are ready and returns how many there were. */
  readonly purgeQueue: (queue: string) => Effect.Effect<number, AmqpError>
  readonly bindQueue: (binding: QueueBinding) => Effect.Effect<void, AmqpError>
  readonly unbindQueue: (binding: QueueBinding) => Effect.Effect<void, AmqpError>

  /** Takes the next message of a queue, or none if the queue is empty. */
  readonly get: (
    queue: string,
    options: { readonly noAck: boolean }
  ) => Effect.Effect<Option.Option<DriverDelivery>, AmqpError>
  /** Limits the unacknowledged messages of each consumer that is started later. 0 is no limit. */
  readonly prefetch: (count: number) => Effect.Effect<void, AmqpError>
  /** Starts a consumer and returns when the broker has it. Deliveries may come before that. */
  readonly consume: (
    options: {
      readonly queue: string
      /** Unique on the connection. */
      readonly consumerTag: string
      /** Acknowledges each message as it is sent, so that a message that is not handled is lost. */
      readonly noAck: boolean
      readonly exclusive: boolean
      readonly arguments: Arguments
    },
    events: DriverConsumerEvents
  ) => Effect.Effect<void, AmqpError>
  /** Stops a consumer and returns when the broker has stopped: deliveries may come until then. */
  readonly cancel: (consumerTag: string) => Effect.Effect<void, AmqpError>

  /** Closes the channel in order: what was written before is sent and handled first. */
  readonly close: Effect.Effect<void>
}

/**
 * A way to reach a broker.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpDriver {
  readonly name: string
  /** Dials once. Leaves no socket behind when interrupted. Fails with the reasons of connecting. */
  readonly connect: (
    options: DriverConnectOptions,
    events: DriverConnectionEvents
  ) => Effect.Effect<DriverConnection, AmqpError>
}
