/**
 * The port: what a transport must provide for the library to stand on it, and nothing more.
 *
 * A driver moves methods and events between us and a broker. It knows nothing of retries, deadlines or recovery: an
 * effect of a driver may never settle, so whoever runs one bounds it and calls {@link DriverConnection.destroyUnsafe}
 * when it does not answer. Interrupting an effect of a driver abandons the wait and leaks nothing.
 *
 * Events are plain callbacks that the driver calls synchronously, in the order in which the broker sent what caused
 * them. They belong to this library, never to users, and do not throw.
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { AmqpError } from "./AmqpError.ts"
import type { Headers } from "./AmqpMessage.ts"

export { fromReplyCode, type ReplyCode } from "./internal/wire/replyCode.ts"

/** TLS settings of one endpoint; PEM text or bytes, as `node:tls` takes them. */
export interface DriverTls {
  readonly ca?: string | Uint8Array | ReadonlyArray<string | Uint8Array> | undefined
  readonly cert?: string | Uint8Array | undefined
  readonly key?: Redacted.Redacted<string> | undefined
  readonly passphrase?: Redacted.Redacted<string> | undefined
  /** The name sent as SNI and checked against the certificate; the host when absent. */
  readonly servername?: string | undefined
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined
}

/** Everything that one attempt to connect needs. */
export interface DriverConnectOptions {
  readonly host: string
  readonly port: number
  readonly tls: DriverTls | undefined
  readonly vhost: string
  readonly username: string
  readonly password: Redacted.Redacted<string>
  /** Seconds; what is used is the smaller of this and the broker's. */
  readonly heartbeat: number
  readonly connectionName: string
}

/** What happens to an established connection. */
export interface DriverConnectionEvents {
  /** The broker raised a resource alarm and stops reading this connection. */
  readonly onBlocked: (reason: string) => void
  readonly onUnblocked: () => void
  /**
   * The connection is over, exactly once, whoever ended it, after `onClose` of each of its channels. The error is what
   * is known of the cause: `ConnectionLost` or `ProtocolFailed`; `ConnectionClosed` if we closed it.
   */
  readonly onClose: (error: AmqpError) => void
}

/** An established connection. */
export interface DriverConnection {
  /** What the broker said of itself: `product`, `version`, `cluster_name` and the like. */
  readonly serverProperties: Readonly<Record<string, unknown>>
  /** The largest frame in bytes that both sides agreed on. */
  readonly frameMax: number
  /**
   * Open a channel, with `confirm.select` if it is to confirm. Interrupted, the channel is closed when it opens, and its
   * events are told nothing.
   */
  readonly openChannel: (
    options: { readonly confirm: boolean },
    events: DriverChannelEvents
  ) => Effect.Effect<DriverChannel, AmqpError>
  /** Say goodbye and wait for the answer. What was published and is still buffered may be lost: drain first. */
  readonly close: Effect.Effect<void>
  /** End the connection now, without a goodbye; `onClose` is called with this error unless it was before. */
  readonly destroyUnsafe: (error: AmqpError) => void
}

/** What happens to an open channel. */
export interface DriverChannelEvents {
  /** `basic.ack` and `basic.nack` of published messages; `multiple` settles every open tag up to this one. */
  readonly onConfirm: (deliveryTag: number, multiple: boolean, ack: boolean) => void
  /** `basic.return`: always before the confirm of the same message. */
  readonly onReturn: (returned: DriverReturn) => void
  /** The write buffer is empty again after a publish left `writable` false. */
  readonly onDrain: () => void
  /** The channel is over, exactly once. `ConnectionLost` and the like if the whole connection is. */
  readonly onClose: (error: AmqpError) => void
}

/** Events of a channel for those who listen to none of them. */
export const noChannelEvents: DriverChannelEvents = {
  onConfirm() {},
  onReturn() {},
  onDrain() {},
  onClose() {}
}

/** A message that could not be routed. It carries no delivery tag: `messageId` is what correlates it. */
export interface DriverReturn {
  readonly replyCode: number
  readonly replyText: string
  readonly exchange: string
  readonly routingKey: string
  readonly messageId: string | undefined
}

/** Message properties as they are on the wire (AMQP 0-9-1, class basic). */
export interface WireProperties {
  readonly contentType?: string | undefined
  readonly contentEncoding?: string | undefined
  readonly headers?: Headers | undefined
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

/** A message ready to be written. Whoever makes one has validated it: a driver may trust it. */
export interface WireMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly mandatory: boolean
  readonly properties: WireProperties
  readonly body: Uint8Array
}

/** A message that the broker handed to us. */
export interface DriverDelivery {
  readonly deliveryTag: number
  readonly redelivered: boolean
  readonly exchange: string
  readonly routingKey: string
  readonly properties: WireProperties
  readonly body: Uint8Array
}

/** What happens to a consumer. */
export interface DriverConsumerEvents {
  readonly onDelivery: (delivery: DriverDelivery) => void
  /** The broker cancelled the consumer (queue deleted, node down); the channel stays open. */
  readonly onCancel: () => void
}

/** Arguments of declarations and bindings (`x-message-ttl`, `alternate-exchange`, …). */
export type Arguments = Headers

/** What the broker says of a queue. */
export interface QueueInfo {
  readonly queue: string
  /** Messages ready for delivery. */
  readonly messageCount: number
  readonly consumerCount: number
}

/** The properties of an exchange as `exchange.declare` takes them. */
export interface ExchangeDeclaration {
  readonly exchange: string
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: Arguments
}

/** The properties of a queue as `queue.declare` takes them; an empty name lets the broker choose one. */
export interface QueueDeclaration {
  readonly queue: string
  readonly durable: boolean
  readonly exclusive: boolean
  readonly autoDelete: boolean
  readonly arguments: Arguments
}

/** A binding of a queue to an exchange. */
export interface QueueBinding {
  readonly queue: string
  readonly exchange: string
  readonly routingKey: string
  readonly arguments: Arguments
}

/** A binding of an exchange to an exchange; messages flow from `source` to `destination`. */
export interface ExchangeBinding {
  readonly destination: string
  readonly source: string
  readonly routingKey: string
  readonly arguments: Arguments
}

/**
 * An open channel. The methods that end in `Unsafe` write a frame and return at once; on a channel that is closed they
 * write nothing and say so. The others wait for the broker's answer.
 */
export interface DriverChannel {
  readonly isOpen: () => boolean
  /** False from a publish that filled the write buffer until `onDrain`. A message published meanwhile is still kept. */
  readonly isWritable: () => boolean
  /**
   * Write a message and return its delivery tag, counted from 1 on this channel (0 on a channel without confirms), or
   * -1 if the channel is closed. Throws an `AmqpError` with `InvalidMessage` if it cannot be encoded: then nothing was
   * written and no tag was used.
   */
  readonly publishUnsafe: (message: WireMessage) => number
  /** False if the channel is closed, so that nothing was written; likewise below. */
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
  /** Returns how many messages were deleted with it; likewise `purgeQueue`. */
  readonly deleteQueue: (
    queue: string,
    options: { readonly ifUnused: boolean; readonly ifEmpty: boolean }
  ) => Effect.Effect<number, AmqpError>
  readonly purgeQueue: (queue: string) => Effect.Effect<number, AmqpError>
  readonly bindQueue: (binding: QueueBinding) => Effect.Effect<void, AmqpError>
  readonly unbindQueue: (binding: QueueBinding) => Effect.Effect<void, AmqpError>

  /** The next message of a queue, or none if it is empty. */
  readonly get: (
    queue: string,
    options: { readonly noAck: boolean }
  ) => Effect.Effect<Option.Option<DriverDelivery>, AmqpError>
  /** Unacknowledged messages that the broker may have out per consumer started later; 0 is no limit. */
  readonly prefetch: (count: number) => Effect.Effect<void, AmqpError>
  /** Start a consumer and return when the broker has it. Deliveries may come before that. */
  readonly consume: (
    options: {
      readonly queue: string
      /** Unique on the connection. */
      readonly consumerTag: string
      readonly noAck: boolean
      readonly exclusive: boolean
      readonly arguments: Arguments
    },
    events: DriverConsumerEvents
  ) => Effect.Effect<void, AmqpError>
  /** Stop a consumer and return when the broker has stopped: deliveries may still come until then. */
  readonly cancel: (consumerTag: string) => Effect.Effect<void, AmqpError>

  /** Close the channel in order: what was written before is sent and handled first. */
  readonly close: Effect.Effect<void>
}

/** A way to reach a broker. */
export interface AmqpDriver {
  readonly name: string
  /** Dial once. Interrupted, it leaves no socket behind. Fails with the reasons of connecting. */
  readonly connect: (
    options: DriverConnectOptions,
    events: DriverConnectionEvents
  ) => Effect.Effect<DriverConnection, AmqpError>
}
