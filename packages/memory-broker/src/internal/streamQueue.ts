/**
 * A stream: a log that keeps its messages when they are read, and readers that each have a place in it.
 *
 * @see https://www.rabbitmq.com/docs/streams
 */
import type { Message } from "./message.ts"
import type { ConsumeOptions, Consumer, QueueHome } from "./queue.ts"
import { hasRoom, Queue } from "./queue.ts"
import type { QueueSettings } from "./queueSettings.ts"
import type { Entry } from "./readyMessages.ts"
import { named, notImplemented, preconditionFailed } from "./replyFault.ts"
import type { StreamFilter } from "./streamFilter.ts"
import { readFilter, readFilterValue } from "./streamFilter.ts"
import type { StreamOffset } from "./streamOffset.ts"
import { readOffset } from "./streamOffset.ts"

/** A message in the log. Its offset is its place in all that was ever appended, to which segments add their beginnings. */
interface Logged {
  readonly message: Message
  /** Milliseconds since 1970. */
  readonly time: number
}

/** Bytes that a message takes on disk besides its body, as an estimate. */
const overhead = 100

/** A part of the log that is dropped as a whole. */
interface Segment {
  readonly first: number
  bytes: number
  /** When its last message came. */
  last: number
}

export class StreamQueue extends Queue {
  readonly #now: () => number
  /** The offset of the first message that is kept. */
  #first = 0
  /** `undefined` is the beginning of a segment, which has an offset too. */
  #log: Array<Logged | undefined> = []
  readonly #segments: Array<Segment> = []
  /** The offset of the next message of each consumer. */
  readonly #next = new Map<Consumer, number>()
  /** What each consumer that filters wants. */
  readonly #filters = new Map<Consumer, StreamFilter>()

  constructor(
    declaration: ConstructorParameters<typeof Queue>[0],
    settings: QueueSettings,
    vhost: QueueHome,
    now: () => number
  ) {
    super(declaration, settings, vhost, undefined, now())
    this.#now = now
  }

  /** The offset of the next message that is appended. */
  get #end(): number {
    return this.#first + this.#log.length
  }

  get consumerCount(): number {
    return this.consumers.length
  }

  get messageCount(): number {
    return this.#log.length - this.#segments.filter(({ first }) => first > 0).length
  }

  *messages(): Iterable<Message> {
    for (const logged of this.#log) if (logged !== undefined) yield logged.message
  }

  offer(message: Message, now: number): boolean {
    if (this.vhost.dialect.filtersStreams) readFilterValue(message)
    this.#append(message.body.length + overhead, now)
    this.#log.push({ message, time: now })
    for (const consumer of this.consumers) this.#deliver(consumer)
    return true
  }

  /** Makes room for a message: a full segment is closed, and segments that are too many or too old are dropped. */
  #append(bytes: number, now: number): void {
    const { maxAge, maxLengthBytes, segmentBytes } = this.settings
    let current = this.#segments.at(-1)
    if (current === undefined || current.bytes >= segmentBytes) {
      current = { first: this.#end, bytes: 0, last: now }
      this.#segments.push(current)
      let total = this.#segments.reduce((sum, segment) => sum + segment.bytes, 0)
      while (this.#segments.length > 1) {
        const [oldest] = this.#segments
        const isTooMuch = maxLengthBytes !== undefined && total > maxLengthBytes
        const isTooOld = maxAge !== undefined && oldest!.last < now - maxAge
        if (!isTooMuch && !isTooOld) break
        total -= oldest!.bytes
        this.#segments.shift()
      }
      const first = this.#segments[0]!.first
      this.#log = this.#log.slice(first - this.#first)
      this.#first = first
      if (current.first > 0) this.#log.push(undefined)
    }
    current.bytes += bytes
    current.last = now
  }

  expire(): void {}

  take(): never {
    throw notImplemented(`basic.get not supported by stream queues ${this.#what}`)
  }

  get #what(): string {
    return named("queue", this.name, this.vhost.name)
  }

  deliverReady(): void {
    for (const consumer of this.consumers) this.#deliver(consumer)
  }

  #deliver(consumer: Consumer): void {
    const filter = this.#filters.get(consumer)
    let offset = Math.max(this.#next.get(consumer) ?? this.#end, this.#first)
    while (offset < this.#end && hasRoom(consumer)) {
      const message = this.#log[offset - this.#first]?.message
      if (message === undefined || filter?.(message) === false) {
        offset++
        this.#next.set(consumer, offset)
        continue
      }
      const entry: Entry = {
        message,
        position: offset,
        priority: 0,
        size: message.body.length,
        expiresAt: undefined,
        redelivered: false,
        failed: 0,
        acquired: 0
      }
      offset++
      this.#next.set(consumer, offset)
      consumer.unacked++
      this.unackedCount++
      consumer.deliver(entry)
    }
  }

  admit(options: ConsumeOptions): void {
    const { dialect } = this.vhost
    const what = this.#what
    for (const argument of dialect.takesBack ? ["x-priority", "x-consumer-timeout"] : ["x-priority"]) {
      if (options.arguments[argument] === undefined) continue
      throw preconditionFailed(`invalid arg '${argument}' for ${what} of queue type rabbit_stream_queue`)
    }
    if (options.prefetch === 0) {
      const kind = dialect.namesStream ? `stream ${what}` : `'${what}'`
      throw preconditionFailed(`consumer prefetch count is not set for ${kind}`)
    }
    if (options.noAck) {
      const kind = dialect.namesStream ? "stream" : "stream queues"
      throw notImplemented(`automatic acknowledgement not supported by ${kind} ${what}`)
    }
    this.#offset(options)
    if (dialect.filtersStreams) readFilter(options.arguments)
  }

  #offset(options: ConsumeOptions): StreamOffset {
    return readOffset(options.arguments["x-stream-offset"], this.#what, this.#now(), this.vhost.dialect)
  }

  addConsumer(consumer: Consumer): void {
    this.#next.set(consumer, this.#start(this.#offset(consumer)))
    if (this.vhost.dialect.filtersStreams && consumer.arguments["x-stream-filter"] !== undefined) {
      this.#filters.set(consumer, readFilter(consumer.arguments))
    }
    this.consumers.push(consumer)
  }

  #start(offset: StreamOffset): number {
    switch (offset._tag) {
      case "First":
        return this.#first
      case "Last":
        return Math.max(this.#first, this.#end - 1)
      case "Next":
        return this.#end
      case "Number":
        return Math.max(this.#first, offset.offset)
      case "Since": {
        const at = this.#log.findIndex((logged) => logged !== undefined && logged.time >= offset.time)
        return at === -1 ? this.#end : this.#first + at
      }
    }
  }

  removeConsumer(consumer: Consumer): void {
    const at = this.consumers.indexOf(consumer)
    if (at !== -1) this.consumers.splice(at, 1)
    this.#next.delete(consumer)
    this.#filters.delete(consumer)
  }

  got(): void {}

  settled(): void {}

  suspend(): void {}

  assertRefusable(): void {
    if (!this.vhost.dialect.ignoresStreamRefusals) {
      throw notImplemented(`basic.nack and basic.reject not supported by stream queues ${this.#what}`)
    }
  }

  /** The log has everything still. */
  requeue(): void {}

  purge(): never {
    throw notImplemented(`queue.purge not supported by stream queues ${this.#what}`)
  }

  restart(): void {
    this.consumers.length = 0
    this.#next.clear()
    this.#filters.clear()
    this.unackedCount = 0
  }
}
