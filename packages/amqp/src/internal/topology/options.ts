/**
 * Properties of exchanges and queues: for each type of queue exactly the properties that it has.
 */
import type * as Duration from "effect/Duration"
import type { Arguments } from "../../AmqpDriver.ts"
import type { Named } from "../named.ts"
import type { ExchangeType } from "./entities.ts"

/**
 * Properties of an exchange; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface ExchangeOptions {
  /** One of the protocol's types, or one of a plugin, whose name begins with `x-`. Defaults to `direct`. */
  readonly type?: ExchangeType | undefined
  /** Survives a restart of the broker. Defaults to `true`. */
  readonly durable?: boolean | undefined
  /** Is deleted when its last binding goes. Defaults to `false`. */
  readonly autoDelete?: boolean | undefined
  /** Takes messages from exchanges only. Defaults to `false`. */
  readonly internal?: boolean | undefined
  /** Where messages go that this exchange cannot route. */
  readonly alternateExchange?: Named<"Exchange"> | undefined
  /** Other arguments, such as `x-delayed-type`. */
  readonly arguments?: Arguments | undefined
}

/**
 * Properties that every type of queue has; all of it optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface AnyQueueOptions {
  /** Bytes of the messages in it. */
  readonly maxLengthBytes?: number | undefined
  /** Other arguments. */
  readonly arguments?: Arguments | undefined
}

/**
 * Properties that queues have and streams have not; all of it optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface MessageQueueOptions extends AnyQueueOptions {
  /** Is deleted when its last consumer goes. Defaults to `false`. */
  readonly autoDelete?: boolean | undefined
  /** How long a message may wait in it. */
  readonly messageTtl?: Duration.Input | undefined
  /** How long it may be unused before it is deleted. */
  readonly expires?: Duration.Input | undefined
  /** Messages in it. */
  readonly maxLength?: number | undefined
  /** What happens at the maximum; the broker's default is `drop-head`. */
  readonly overflow?: "drop-head" | "reject-publish" | "reject-publish-dlx" | undefined
  /** Where messages go that are rejected, expired, dropped, or delivered too often. */
  readonly deadLetterExchange?: Named<"Exchange"> | undefined
  readonly deadLetterRoutingKey?: string | undefined
  /** Gives the messages to one consumer at a time, in order. */
  readonly singleActiveConsumer?: boolean | undefined
}

/**
 * Properties of a classic queue, or of a queue of the virtual host's default type; all of it optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface ClassicQueueOptions extends MessageQueueOptions {
  /** Defaults to the type that the virtual host has as its default, usually `classic`. */
  readonly type?: "classic" | undefined
  /** Survives a restart of the broker. Defaults to `true`. */
  readonly durable?: boolean | undefined
  /** Belongs to the connection that declared it, and goes with it. Defaults to `false`. */
  readonly exclusive?: boolean | undefined
  /** 1 to 255; makes it a priority queue. */
  readonly maxPriority?: number | undefined
}

/**
 * Properties of a quorum queue, for what must not be lost. It is always durable and never exclusive.
 *
 * @see https://www.rabbitmq.com/docs/quorum-queues
 * @category options
 * @since 0.2.0
 */
export interface QuorumQueueOptions extends MessageQueueOptions {
  readonly type: "quorum"
  readonly durable?: true | undefined
  readonly exclusive?: false | undefined
  /**
   * How often a message is delivered before it is dead-lettered, or dropped. RabbitMQ's default is 20 since 4.0, and
   * none before; -1 is none from 4.0 on, and is refused with `InvalidConfiguration` before, where it drops messages.
   */
  readonly deliveryLimit?: number | undefined
}

/**
 * Properties of a stream, which keeps its messages after they were read. It is always durable.
 *
 * @see https://www.rabbitmq.com/docs/streams
 * @category options
 * @since 0.2.0
 */
export interface StreamOptions extends AnyQueueOptions {
  readonly type: "stream"
  readonly durable?: true | undefined
  readonly exclusive?: false | undefined
  readonly autoDelete?: false | undefined
  /** How long messages are kept, in whole seconds. */
  readonly maxAge?: Duration.Input | undefined
  /** The size of a file of the stream; whole files are deleted when `maxAge` or `maxLengthBytes` is exceeded. */
  readonly maxSegmentBytes?: number | undefined
}

/**
 * Properties of a queue; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export type QueueOptions = ClassicQueueOptions | QuorumQueueOptions | StreamOptions
