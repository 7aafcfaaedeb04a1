/**
 * What every kind of queue has: its properties, its consumers, and what the broker asks of it. A queue knows no clock
 * and no wire: time comes in as an argument, and what leaves it goes through {@link QueueHost}.
 */
import type { QueueDeclaration } from "effect-amqp/AmqpDriver"
import type { Headers } from "effect-amqp/AmqpMessage"
import type { Dialect } from "./brokerVersion.ts"
import type { DeathReason } from "./deadLetter.ts"
import type { Message } from "./message.ts"
import type { QueueSettings } from "./queueSettings.ts"
import type { Entry } from "./readyMessages.ts"

/** What a client asks for with `basic.consume`. */
export interface ConsumeOptions {
  readonly noAck: boolean
  readonly exclusive: boolean
  /** Unacknowledged messages that the consumer may have; 0 is no limit. */
  readonly prefetch: number
  readonly arguments: Headers
}

/** A consumer as its queue sees it. */
export interface Consumer extends ConsumeOptions {
  readonly tag: string
  readonly queue: Queue
  readonly priority: number
  /** Messages that are out and not settled. */
  unacked: number
  /** Those of `unacked` that the broker has taken back: until they are settled, the consumer gets no other. */
  takenBack: number
  readonly deliver: (entry: Entry) => void
  /** The broker ends it: the queue is gone. */
  readonly cancelled: () => void
}

/** Tells if a consumer may get another message. */
export const hasRoom = (consumer: Consumer): boolean =>
  consumer.takenBack === 0 && (consumer.noAck || consumer.prefetch === 0 || consumer.unacked < consumer.prefetch)

/** The virtual host that a queue is in. */
export interface QueueHome {
  readonly name: string
  readonly dialect: Dialect
  readonly route: (exchange: string, message: Message) => Iterable<Queue>
  readonly deleteQueue: (queue: Queue) => void
}

/** How often a message was delivered in vain. */
export type Counts = Pick<Entry, "failed" | "acquired">

/** A message that leaves its queue unconsumed. */
export type DeadEntry = Counts & Pick<Entry, "message">

/** How an unacknowledged message comes back: refused, left by a channel that closed, or taken back by a timeout. */
export type ReturnCause = "nack" | "reject" | "close" | "timeout"

/** What a queue asks of the broker around it. */
export interface QueueHost {
  readonly deadLetter: (queue: Queue, entry: DeadEntry, reason: DeathReason) => void
  readonly queueDeleted: (queue: Queue) => void
}

export abstract class Queue {
  readonly kind = "queue"
  readonly name: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly exclusive: boolean
  readonly arguments: Headers
  readonly settings: QueueSettings
  readonly vhost: QueueHome
  /** The connection that an exclusive queue belongs to. */
  readonly owner: object | undefined
  /** Those of higher priority first, and among equals the one whose turn is next. */
  readonly consumers: Array<Consumer> = []
  unackedCount = 0
  isDeleted = false
  /** When the head expires, in milliseconds on the Clock, as it was when last looked at. */
  nextExpiry: number | undefined
  /** Since when nobody has used it, in milliseconds on the Clock. */
  lastUsedAt: number

  constructor(
    declaration: QueueDeclaration,
    settings: QueueSettings,
    vhost: QueueHome,
    owner: object | undefined,
    now: number
  ) {
    this.name = declaration.queue
    this.durable = declaration.durable
    this.autoDelete = declaration.autoDelete
    this.exclusive = declaration.exclusive
    this.arguments = declaration.arguments
    this.settings = settings
    this.vhost = vhost
    this.owner = declaration.exclusive ? owner : undefined
    this.lastUsedAt = now
  }

  /** The consumers that `queue.declare` counts. */
  abstract get consumerCount(): number
  /** Messages that wait for a consumer. */
  abstract get messageCount(): number
  /** The messages that wait, in the order in which they are delivered. */
  abstract messages(): Iterable<Message>
  /** Takes a message in. Returns `false` if there is no room for it: its publisher gets a nack. */
  abstract offer(message: Message, now: number, counts?: Counts): boolean
  /** Drops expired messages, and notes when to look again. */
  abstract expire(now: number): void
  /** Takes the first message, as `basic.get` does. Throws a `ReplyFault` if the kind of queue has no such thing. */
  abstract take(now: number): Entry | undefined
  /** Hands out what the consumers have room for. */
  abstract deliverReady(now: number): void
  /** Throws the `ReplyFault` with which RabbitMQ refuses such a consumer, if it does. */
  abstract admit(options: ConsumeOptions): void
  abstract addConsumer(consumer: Consumer, now: number): void
  abstract removeConsumer(consumer: Consumer, now: number, cause: "cancel" | "close"): void
  /** A message that `basic.get` took is out. */
  abstract got(): void
  /** A consumer, or a `basic.get` if there is none, has settled one of its messages. */
  abstract settled(consumer: Consumer | undefined): void
  /** The broker takes messages back from a consumer, which gets no other until it has settled them. */
  abstract suspend(consumer: Consumer): void
  /** Throws the `ReplyFault` with which RabbitMQ answers a nack or a reject, if the kind of queue has no such thing. */
  abstract assertRefusable(): void
  /** Requeues messages that were delivered and not acknowledged. */
  abstract requeue(entries: ReadonlyArray<Entry>, cause: ReturnCause, now: number): void
  /** Drops the ready messages, and returns their number. */
  abstract purge(): number
  /** Keeps what a restart of the broker leaves of a durable queue. */
  abstract restart(): void
}
