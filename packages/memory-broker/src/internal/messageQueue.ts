/**
 * A classic or quorum queue: its messages in order, its consumers in turn, and its limits.
 */
import type { QueueDeclaration } from "effect-amqp/AmqpDriver"
import type { Priorities } from "./brokerVersion.ts"
import { noPriorities } from "./brokerVersion.ts"
import type { Message } from "./message.ts"
import { isPersistent } from "./message.ts"
import type { ConsumeOptions, Consumer, Counts, QueueHome, QueueHost, ReturnCause } from "./queue.ts"
import { hasRoom, Queue } from "./queue.ts"
import type { QueueSettings } from "./queueSettings.ts"
import { readWhole, wireType } from "./queueSettings.ts"
import type { Entry } from "./readyMessages.ts"
import { ReadyMessages } from "./readyMessages.ts"
import { accessRefused, named, preconditionFailed } from "./replyFault.ts"
import { SingleActive } from "./singleActive.ts"

const none: Counts = { failed: 0, acquired: 0 }

export class MessageQueue extends Queue {
  readonly ready: ReadyMessages
  readonly #host: QueueHost
  readonly #priorities: Priorities
  readonly #single: SingleActive | undefined
  #nextPosition = 0
  /** Consumers of a quorum queue that were cancelled with messages out. */
  readonly #leftovers = new Set<Consumer>()
  /** Messages of a quorum queue that `basic.get` took and that are out. */
  #gets = 0
  /** The queue does not look for messages to deliver until it is used again. */
  #isAsleep = false

  constructor(
    declaration: QueueDeclaration,
    settings: QueueSettings,
    vhost: QueueHome,
    owner: object | undefined,
    host: QueueHost,
    now: number
  ) {
    super(declaration, settings, vhost, owner, now)
    const isQuorum = settings.type === "quorum"
    const { handsOver } = vhost.dialect
    this.#priorities = isQuorum ? vhost.dialect.quorumPriorities : { ...noPriorities, highest: settings.maxPriority }
    this.ready = new ReadyMessages(
      this.#priorities.highest,
      isQuorum ? "returnsFirst" : "byPosition",
      this.#priorities.scheme
    )
    this.#host = host
    this.#single = settings.singleActiveConsumer
      ? new SingleActive({ handsOver: isQuorum && handsOver, prefersPriority: !isQuorum || handsOver })
      : undefined
  }

  /** A quorum queue counts who has unacknowledged messages, also after a cancel and for each `basic.get`. */
  get consumerCount(): number {
    return this.consumers.length + this.#leftovers.size + this.#gets
  }

  get messageCount(): number {
    return this.ready.length
  }

  *messages(): Iterable<Message> {
    for (const entry of this.ready) yield entry.message
  }

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
      priority: this.#priorities.highest === 0 ? 0 : this.#levelOf(message.properties.priority),
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
    if (this.#isAsleep) this.#wake(now)
    const hasDropped = this.#dropOverflow()
    // A classic queue looks for expired messages only when the head may be another: a message of high priority that
    // overtakes the head is not looked at, and can be delivered after its time.
    const mayBeHead = this.ready.length === 1 || this.settings.type === "quorum"
    if (hasDropped || (mayBeHead && entry.expiresAt !== undefined)) this.expire(now)
    return true
  }

  /** The level of a message with this priority. */
  #levelOf(priority: number | undefined): number {
    const { fallback, highest, least } = this.#priorities
    return Math.max(0, Math.min((priority ?? fallback) - least, highest))
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

  expire(now: number): void {
    for (const entry of this.ready.shiftExpired(now)) {
      this.#host.deadLetter(this, entry, "expired")
    }
    this.nextExpiry = this.ready.nextExpiry
  }

  take(now: number): Entry | undefined {
    const entry = this.ready.shift()
    this.expire(now)
    return entry
  }

  deliverReady(now: number): void {
    if (this.#isAsleep) return
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
    if (this.#single !== undefined) {
      const { receiver } = this.#single
      return receiver !== undefined && hasRoom(receiver) ? receiver : undefined
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

  admit(options: ConsumeOptions): void {
    const what = named("queue", this.name, this.vhost.name)
    const priority = options.arguments["x-priority"]
    if (priority !== undefined && (typeof priority !== "number" || !Number.isInteger(priority))) {
      throw preconditionFailed(`invalid arg 'x-priority' for ${what}: "expected integer, got ${wireType(priority)}"`)
    }
    const { type } = this.settings
    const unknown = (argument: string) =>
      preconditionFailed(`invalid arg '${argument}' for ${what} of queue type rabbit_${type}_queue`)
    if (options.arguments["x-stream-offset"] !== undefined) throw unknown("x-stream-offset")
    if (options.arguments["x-consumer-timeout"] !== undefined && this.vhost.dialect.takesBack) {
      if (type !== "quorum") throw unknown("x-consumer-timeout")
      readWhole(options.arguments, "x-consumer-timeout", what)
    }
    const isTaken = this.consumers.some((other) => other.exclusive) ||
      (options.exclusive && (this.consumers.length > 0 || this.settings.singleActiveConsumer))
    if (isTaken) throw accessRefused(`${what} in exclusive use`)
  }

  addConsumer(consumer: Consumer, now: number): void {
    const at = this.consumers.findIndex((other) => other.priority < consumer.priority)
    this.consumers.splice(at === -1 ? this.consumers.length : at, 0, consumer)
    this.#single?.add(consumer)
    this.#wake(now)
  }

  removeConsumer(consumer: Consumer, now: number, cause: "cancel" | "close"): void {
    const at = this.consumers.indexOf(consumer)
    if (at !== -1) this.consumers.splice(at, 1)
    this.#single?.remove(consumer)
    if (this.consumers.length === 0) this.lastUsedAt = now
    const sleeps = cause === "cancel" && this.#single !== undefined && this.settings.type === "classic" &&
      !this.vhost.dialect.wakesAfterCancel
    if (sleeps) this.#isAsleep = true
    if (this.settings.type === "quorum" && consumer.unacked > 0) this.#leftovers.add(consumer)
  }

  got(): void {
    this.unackedCount++
    if (this.settings.type === "quorum") this.#gets++
  }

  settled(consumer: Consumer | undefined): void {
    if (consumer === undefined) {
      if (this.#gets > 0) this.#gets--
      return
    }
    if (consumer.unacked === 0) this.#leftovers.delete(consumer)
    this.#single?.settled(consumer)
    if (this.#isAsleep && this.consumers.includes(consumer)) this.#isAsleep = false
  }

  suspend(consumer: Consumer): void {
    this.#single?.suspend(consumer)
  }

  assertRefusable(): void {}

  #wake(now: number): void {
    if (!this.#isAsleep) return
    this.#isAsleep = false
    this.deliverReady(now)
  }

  /**
   * Puts messages back. A quorum queue lets go of a message that failed more
   * often than its limit; some versions put what was refused behind everything else if there is no limit.
   */
  requeue(entries: ReadonlyArray<Entry>, cause: ReturnCause, now: number): void {
    const back: Array<Entry> = []
    const limit = this.settings.type === "quorum" ? this.settings.deliveryLimit : undefined
    for (const entry of entries) {
      entry.redelivered = true
      entry.acquired++
      if (cause === "reject" || cause === "close" || this.vhost.dialect.countsNacks) entry.failed++
      if (limit !== undefined && entry.failed > limit) {
        this.#host.deadLetter(this, entry, "delivery_limit")
      } else back.push(entry)
    }
    const isRefused = cause === "nack" || cause === "reject"
    const goesLast = isRefused && this.settings.type === "quorum" && limit === undefined &&
      this.vhost.dialect.putsRefusedLast
    if (goesLast) { for (const entry of back) this.ready.push(entry) }
    else this.ready.requeue(back)
    this.#isAsleep = false
    this.#dropOverflow()
    this.expire(now)
  }

  purge(): number {
    return this.ready.clear().length
  }

  restart(): void {
    const all = this.ready.clear()
    this.ready.requeue(this.settings.type === "quorum" ? all : all.filter((entry) => isPersistent(entry.message)))
    this.consumers.length = 0
    this.#leftovers.clear()
    this.#gets = 0
    this.#single?.clear()
    this.unackedCount = 0
    this.#isAsleep = false
  }
}
