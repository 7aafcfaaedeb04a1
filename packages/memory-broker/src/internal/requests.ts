/**
 * The methods that the broker answers. Each checks permissions, changes the virtual host, and returns the answer.
 */
import * as Option from "effect/Option"
import type { Accounts, Permission } from "./accounts.ts"
import type { Channel } from "./channel.ts"
import type { Consuming } from "./consuming.ts"
import type { Deliveries } from "./deliveries.ts"
import type { DirectReply } from "./directReply.ts"
import { replyToQueue } from "./directReply.ts"
import type { DueWork } from "./dueWork.ts"
import type { Destination } from "./exchange.ts"
import type { Request } from "./frames.ts"
import { encodeToken } from "./generatedName.ts"
import type { Queue } from "./queue.ts"
import { named, notFound, notImplemented, preconditionFailed } from "./replyFault.ts"
import type { Timers } from "./timers.ts"
import type { VirtualHost } from "./virtualHost.ts"

export class Requests {
  readonly #timers: Timers
  readonly #accounts: Accounts
  readonly #due: DueWork
  readonly #deliveries: Deliveries
  readonly #consuming: Consuming
  readonly #replies: DirectReply
  #names = 0

  constructor(broker: {
    readonly timers: Timers
    readonly accounts: Accounts
    readonly due: DueWork
    readonly deliveries: Deliveries
    readonly consuming: Consuming
    readonly replies: DirectReply
  }) {
    this.#timers = broker.timers
    this.#accounts = broker.accounts
    this.#due = broker.due
    this.#deliveries = broker.deliveries
    this.#consuming = broker.consuming
    this.#replies = broker.replies
  }

  /** Carries a request out and returns the answer. Throws a `ReplyFault` if it is refused. */
  answer(channel: Channel, request: Request): unknown {
    const { vhost } = channel.connection
    switch (request._tag) {
      case "OpenChannel":
      case "CloseChannel":
        return undefined
      case "DeclareExchange":
        this.#assert(channel, "configure", "exchange", request.declaration.exchange)
        vhost.declareExchange(request.declaration)
        return undefined
      case "CheckExchange":
        vhost.checkExchange(request.exchange)
        return undefined
      case "DeleteExchange":
        this.#assert(channel, "configure", "exchange", request.exchange)
        vhost.deleteExchange(request.exchange, request.ifUnused)
        return undefined
      case "BindExchange":
      case "UnbindExchange": {
        const { destination, source, routingKey, arguments: args } = request.binding
        this.#bind(channel, request._tag === "BindExchange", "exchange", destination, source, routingKey, args)
        return undefined
      }
      case "BindQueue":
      case "UnbindQueue": {
        const { queue, exchange, routingKey, arguments: args } = request.binding
        const name = this.#queueName(channel, queue)
        this.#bind(channel, request._tag === "BindQueue", "queue", name, exchange, routingKey, args)
        return undefined
      }
      case "DeclareQueue":
        return this.#declareQueue(channel, request)
      case "CheckQueue": {
        if (this.#replies.isKnown(vhost, request.queue)) {
          return { queue: request.queue, messageCount: 0, consumerCount: 1 }
        }
        const queue = this.#useQueue(channel, request.queue)
        return { queue: queue.name, messageCount: queue.messageCount, consumerCount: queue.consumerCount }
      }
      case "DeleteQueue":
        return this.#deleteQueue(channel, request)
      case "PurgeQueue": {
        const queue = this.#useQueue(channel, request.queue)
        this.#assert(channel, "read", "queue", queue.name)
        return queue.purge()
      }
      case "Get": {
        const queue = this.#useQueue(channel, request.queue)
        this.#assert(channel, "read", "queue", queue.name)
        queue.lastUsedAt = this.#timers.now
        const entry = queue.take(this.#timers.now)
        if (entry === undefined) return Option.none()
        if (!request.noAck) queue.got()
        return Option.some(this.#deliveries.hand(channel, queue, entry, request.noAck, undefined))
      }
      case "Prefetch":
        channel.prefetch = request.count
        return undefined
      case "Consume":
        this.#consuming.start(channel, request, (name) => this.#useQueue(channel, name))
        return undefined
      case "Cancel":
        this.#consuming.cancel(channel, request.consumerTag)
        return undefined
    }
  }

  #assert(channel: Channel, permission: Permission, kind: Destination["kind"], name: string): void {
    this.#accounts.assert(channel.connection.user, channel.connection.vhost.name, permission, kind, name)
  }

  /** Reads the name of a queue. An empty name is the queue that the channel declared last. */
  #queueName(channel: Channel, name: string): string {
    if (name !== "") return name
    if (channel.lastQueue === undefined) throw notFound("no previously declared queue")
    return channel.lastQueue
  }

  #useQueue(channel: Channel, name: string): Queue {
    const queue = channel.connection.vhost.queueFor(channel.connection, this.#queueName(channel, name))
    this.#due.touch(queue)
    return queue
  }

  #bind(
    channel: Channel,
    isBind: boolean,
    kind: Destination["kind"],
    destination: string,
    source: string,
    routingKey: string,
    args: Parameters<VirtualHost["bind"]>[5]
  ): void {
    const { vhost } = channel.connection
    this.#assert(channel, "write", kind, destination)
    if (isBind) vhost.bind(kind, channel.connection, destination, source, routingKey, args)
    else vhost.unbind(kind, channel.connection, destination, source, routingKey, args)
    this.#assert(channel, "read", "exchange", source)
  }

  #declareQueue(channel: Channel, request: Request & { readonly _tag: "DeclareQueue" }): unknown {
    const { connection } = channel
    const { declaration } = request
    if (declaration.queue === replyToQueue) return { queue: replyToQueue, messageCount: 0, consumerCount: 1 }
    const isNamed = declaration.queue !== ""
    const name = isNamed ? declaration.queue : `amq.gen-${encodeToken(++this.#names)}`
    this.#assert(channel, "configure", "queue", name)
    const queue = isNamed
      ? connection.vhost.declareQueue(declaration, connection)
      : connection.vhost.addQueue({ ...declaration, queue: name }, connection)
    channel.lastQueue = name
    this.#due.touch(queue)
    return { queue: name, messageCount: queue.messageCount, consumerCount: queue.consumerCount }
  }

  #deleteQueue(channel: Channel, request: Request & { readonly _tag: "DeleteQueue" }): number {
    const { vhost } = channel.connection
    this.#assert(channel, "configure", "queue", request.queue)
    if (!vhost.queues.has(this.#queueName(channel, request.queue))) return 0
    const queue = this.#useQueue(channel, request.queue)
    const what = named("queue", queue.name, vhost.name)
    if (queue.settings.type === "quorum" && (request.ifEmpty || request.ifUnused)) {
      const flag = request.ifUnused ? "if-unused" : "if-empty"
      throw notImplemented(
        `cannot delete ${what}. queue.delete operations with ${flag} flag set are not supported by quorum queues`
      )
    }
    // RabbitMQ deletes a stream whatever is asked, and does not count its messages.
    const isStream = queue.settings.type === "stream"
    if (!isStream && request.ifEmpty && queue.messageCount > 0) throw preconditionFailed(`${what} not empty`)
    if (!isStream && request.ifUnused && queue.consumers.length > 0) throw preconditionFailed(`${what} in use`)
    const count = isStream ? 0 : queue.messageCount
    vhost.deleteQueue(queue)
    return count
  }
}
