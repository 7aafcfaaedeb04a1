/**
 * A queue: its messages in order, its consumers in turn, and its limits. It knows no clock and no wire: time comes in
 * as an argument, and what leaves it goes through {@link QueueHost}.
 */
import type { QueueDeclaration } from "effect-amqp/AmqpDriver"
import type { Headers } from "effect-amqp/AmqpMessage"
import type { Dialect } from "./brokerVersion.ts"
import type { DeathReason } from "./deadLetter.ts"
import type { Message } from "./message.ts"
import { isPersistent } from "./message.ts"
import type { QueueSettings } from "./queueSettings.ts"
import type { Entry } from "./readyMessages.ts"
import { ReadyMessages } from "./readyMessages.ts"

/** A consumer as its queue sees it. */
export interface Consumer {
  readonly tag: string
  readonly queue: Queue
  readonly noAck: boolean
  readonly exclusive: boolean
  /** Unacknowledged messages that it may have; 0 is no limit. */
  readonly prefetch: number
  readonly priority: number
  unacked: number
  readonly deliver: (entry: Entry) => void
  /** The broker ends it: the queue is gone. */
  readonly cancelled: () => void
}

const hasRoom = (consumer: Consumer): boolean =>
  consumer.noAck || consumer.prefetch === 0 || consumer.unacked < consumer.prefetch

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

const none: Counts = { failed: 0, acquired: 0 }

/** How an unacknowledged message comes back: refused by the client, or because its channel closed. */
export type ReturnCause = "nack" | "reject" | "close"

/** What a queue asks of the broker around it. */
export interface QueueHost {
  readonly deadLetter: (queue: Queue, entry: DeadEntry, reason: DeathReason) => void
  readonly queueDeleted: (queue: Queue) => void
}

export class Queue {
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
  readonly ready: ReadyMessages
  /** Those of higher priority first, and among equals the one whose turn is next. */
  readonly consumers: Array<Consumer> = []
  unackedCount = 0
  isDeleted = false
  /** When the head expires, in milliseconds on the Clock, as it was when last looked at. */
  nextExpiry: number | undefined
  /** Since when nobody has used it, in milliseconds on the Clock. */
  lastUsedAt: number
  #nextPosition = 0
  #active: Consumer | undefined
  readonly #host: QueueHost

  constructor(
    declaration: QueueDeclaration,
    settings: QueueSettings,
    vhost: QueueHome,
    owner: object | undefined,
    host: QueueHost,
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
    this.ready = new ReadyMessages(settings.maxPriority, settings.type === "quorum" ? "returnsFirst" : "byPosition")
    this.lastUsedAt = now
    this.#host = host
  }

  /** Take a message in. False if there is no room for it, which is what a publisher gets a nack for. */
  offer(message: Message, now: number, { failed, acquired }: Counts = none): boolean {
    const { overflow, maxLength, maxLengthBytes } = this.settings
    const size = message.body.length
    if (
      overflow !== "drop-head" &&
      ((maxLength !== undefined && this.ready.length + 1 > maxLength) ||
        (maxLengthBytes !== undefined && this.ready.bytes + size > maxLengthBytes))
    ) {
      if (overflow === "reject-publish-dlx") this.#host.deadLetter(this, { message, ...none }, "maxlen")
      return false
    }
    const entry: Entry = {
      message,
      position: this.#nextPosition++,
      priority: this.settings.maxPriority === 0
        ? 0
        : Math.min(message.properties.priority ?? 0, this.settings.maxPriority),
      size,
      expiresAt: this.#expiryOf(message, now),
      redelivered: failed > 0,
      failed,
      acquired
    }
    if (this.consumers.length > 0 && this.ready.length === 0) {
      const consumer = this.#nextConsumer()
      if (consumer !== undefined) {
        this.#deliver(consumer, entry)
        return true
      }
    }
    this.ready.push(entry)
    const hasDropped = this.#dropOverflow()
    // RabbitMQ looks for expired messages only when the head may be another: a message of high priority that overtakes
    // the head is not looked at, and can be delivered after its time.
    if (hasDropped || (this.ready.length === 1 && entry.expiresAt !== undefined)) this.expire(now)
    return true
  }

  #expiryOf(message: Message, now: number): number | undefined {
    const own = message.properties.expiration
    const queueTtl = this.settings.messageTtl
    if (own === undefined) return queueTtl === undefined ? undefined : now + queueTtl
    return now + (queueTtl === undefined ? Number(own) : Math.min(Number(own), queueTtl))
  }

  #dropOverflow(): boolean {
    const { maxLength = Number.POSITIVE_INFINITY, maxLengthBytes = Number.POSITIVE_INFINITY } = this.settings
    const { ready } = this
    // A queue that rejects publishes keeps what comes back, even beyond its length.
    const drops = this.settings.overflow === "drop-head"
    const isOver = () => drops && (ready.length > maxLength || ready.bytes > maxLengthBytes)
    const hasDropped = isOver()
    for (
      let head = isOver() ? ready.shift() : undefined;
      head !== undefined;
      head = isOver() ? ready.shift() : undefined
    ) {
      this.#host.deadLetter(this, head, "maxlen")
    }
    return hasDropped
  }

  /** Let go of what has expired at the head, and note when to look again. */
  expire(now: number): void {
    for (const entry of this.ready.shiftExpired(now)) {
      this.#host.deadLetter(this, entry, "expired")
    }
    this.nextExpiry = this.ready.peek()?.expiresAt
  }

  /** Take the first message. */
  take(now: number): Entry | undefined {
    const entry = this.ready.shift()
    this.expire(now)
    return entry
  }

  /** Hand out what the consumers have room for. */
  deliverReady(now: number): void {
    while (this.ready.length > 0) {
      const consumer = this.#nextConsumer()
      if (consumer === undefined) return
      const entry = this.take(now)
      if (entry !== undefined) this.#deliver(consumer, entry)
    }
  }

  #deliver(consumer: Consumer, entry: Entry): void {
    if (!consumer.noAck) {
      consumer.unacked++
      this.unackedCount++
    }
    consumer.deliver(entry)
  }

  #nextConsumer(): Consumer | undefined {
    if (this.settings.singleActiveConsumer) {
      return this.#active !== undefined && hasRoom(this.#active) ? this.#active : undefined
    }
    const consumers = this.consumers
    for (let i = 0; i < consumers.length; i++) {
      const consumer = consumers[i]!
      if (!hasRoom(consumer)) continue
      let last = i
      while (last + 1 < consumers.length && consumers[last + 1]!.priority === consumer.priority) last++
      if (last > i) {
        consumers.splice(i, 1)
        consumers.splice(last, 0, consumer)
      }
      return consumer
    }
    return undefined
  }

  addConsumer(consumer: Consumer): void {
    const at = this.consumers.findIndex((other) => other.priority < consumer.priority)
    this.consumers.splice(at === -1 ? this.consumers.length : at, 0, consumer)
    this.#active ??= consumer
  }

  removeConsumer(consumer: Consumer, now: number): void {
    const at = this.consumers.indexOf(consumer)
    if (at !== -1) this.consumers.splice(at, 1)
    if (this.#active === consumer) this.#active = this.consumers[0]
    if (this.consumers.length === 0) this.lastUsedAt = now
  }

  /**
   * Put messages that were delivered and not acknowledged back. A quorum queue lets go of a message that failed more
   * often than its limit; some versions put what was refused behind everything else if there is no limit.
   */
  requeue(entries: ReadonlyArray<Entry>, cause: ReturnCause, now: number): void {
    const back: Array<Entry> = []
    const limit = this.settings.type === "quorum" ? this.settings.deliveryLimit : undefined
    for (const entry of entries) {
      entry.redelivered = true
      entry.acquired++
      if (cause !== "nack" || this.vhost.dialect.countsNacks) entry.failed++
      if (limit !== undefined && entry.failed > limit) {
        this.#host.deadLetter(this, entry, "delivery_limit")
      } else back.push(entry)
    }
    const goesLast = this.settings.type === "quorum" && limit === undefined && cause !== "close" &&
      this.vhost.dialect.putsRefusedLast
    if (goesLast) { for (const entry of back) this.ready.push(entry) }
    else this.ready.requeue(back)
    this.#dropOverflow()
    this.expire(now)
  }

  purge(): number {
    return this.ready.clear().length
  }

  /** Keep what a restart of the broker leaves of a durable queue. */
  forgetTransient(delivered: ReadonlyArray<Entry>): void {
    for (const entry of delivered) entry.redelivered = true
    this.ready.requeue(delivered)
    const all = this.ready.clear()
    const kept = this.settings.type === "quorum" ? all : all.filter((entry) => isPersistent(entry.message))
    this.ready.requeue(kept)
    this.consumers.length = 0
    this.#active = undefined
    this.unackedCount = 0
  }
}
