/**
 * The broker as a state machine: connections and channels send it frames, it changes its state and sends frames back.
 * It is synchronous from end to end; {@link "./link.ts"} puts the wire and the Clock around it.
 */
import type { DriverDelivery, WireMessage } from "effect-amqp/AmqpDriver"
import * as Option from "effect/Option"
import { Accounts } from "./accounts.ts"
import type { Dialect } from "./brokerVersion.ts"
import type { Settled } from "./confirms.ts"
import { Confirms } from "./confirms.ts"
import type { DeathReason } from "./deadLetter.ts"
import { bury, isCycle } from "./deadLetter.ts"
import type { Destination } from "./exchange.ts"
import type { Faults } from "./faults.ts"
import { noFaults } from "./faults.ts"
import type { ChannelEvent, Command, ConsumeRequest, MethodId, PublishCommand, Request } from "./frames.ts"
import { methods } from "./frames.ts"
import type { Message } from "./message.ts"
import { fromPublish } from "./message.ts"
import { checkProperties, checkSize } from "./publishChecks.ts"
import type { Consumer, Queue, QueueHost } from "./queue.ts"
import { wireType } from "./queueSettings.ts"
import type { Entry } from "./readyMessages.ts"
import { accessRefused, named, notAllowed, notFound, preconditionFailed, ReplyFault } from "./replyFault.ts"
import type { Timer, Timers } from "./timers.ts"
import { VirtualHost } from "./virtualHost.ts"

/** The client's end of a connection, as the broker sees it. */
export interface Peer {
  readonly send: (channel: Channel, event: ChannelEvent) => void
  readonly channelClosed: (channel: Channel, fault: ReplyFault, method: MethodId) => void
  readonly connectionClosed: (fault: ReplyFault) => void
  readonly unblock: () => void
}

/** What was delivered and waits for an acknowledgement. */
interface Unacked {
  readonly queue: Queue
  readonly entry: Entry
  readonly consumer: Consumer | undefined
}

/** A connection as the broker keeps it. */
export interface Connection {
  readonly peer: Peer
  readonly user: string
  readonly vhost: VirtualHost
  readonly channels: Set<Channel>
}

/** A channel as the broker keeps it. */
export interface Channel {
  readonly number: number
  readonly connection: Connection
  readonly confirm: boolean
  readonly confirms: Confirms
  readonly consumers: Map<string, Consumer>
  readonly unacked: Map<number, Unacked>
  publishSequence: number
  deliverySequence: number
  prefetch: number
  lastQueue: string | undefined
  /** The token of direct reply-to once this channel consumes `amq.rabbitmq.reply-to`. */
  reply: { readonly token: string; readonly consumerTag: string } | undefined
  isOpen: boolean
}

/** A message that was published, and the queues that took it. */
export interface PublishRecord {
  readonly vhost: string
  readonly exchange: string
  readonly routingKey: string
  readonly messageId: string | undefined
  readonly body: Uint8Array
  readonly queues: ReadonlyArray<string>
}

/** A message that left its queue unconsumed and has not been dead-lettered yet. */
interface Grave {
  readonly queue: Queue
  readonly message: Message
  readonly reason: DeathReason
  readonly redelivered: boolean
}

const replyToQueue = "amq.rabbitmq.reply-to"

/** How many published messages are remembered for inspection. */
const rememberedPublishes = 10_000

const encodeToken = (value: number): string =>
  globalThis.Buffer.from(`${value}`.padStart(16, "0")).toString("base64url")

export class Broker implements QueueHost {
  readonly vhosts = new Map<string, VirtualHost>()
  readonly accounts: Accounts
  readonly connections = new Set<Connection>()
  readonly faults: Faults = noFaults()
  readonly timers: Timers
  readonly #random: () => number
  readonly #dialect: Dialect
  readonly #published: Array<PublishRecord> = []
  #publishedCount = 0
  readonly #confirming = new Set<Channel>()
  /** Confirms that a fault keeps, in the order in which they were due. */
  #heldConfirms: Array<{ readonly channel: Channel; readonly settled: Settled }> = []
  readonly #touched = new Set<Queue>()
  readonly #graves: Array<Grave> = []
  readonly #queueTimers = new Map<Queue, Timer>()
  #names = 0

  constructor(timers: Timers, random: () => number, dialect: Dialect) {
    this.timers = timers
    this.#dialect = dialect
    this.accounts = new Accounts(dialect)
    this.#random = random
    this.addVirtualHost("/")
  }

  addVirtualHost(name: string): void {
    if (!this.vhosts.has(name)) {
      const queueDeleted = (queue: Queue) => this.#forgetQueue(queue)
      const deadLetter: QueueHost["deadLetter"] = (...death) => this.deadLetter(...death)
      this.vhosts.set(name, new VirtualHost(name, this.#dialect, { queueDeleted, deadLetter }))
    }
  }

  connect(peer: Peer, user: string, vhost: VirtualHost): Connection {
    const connection: Connection = { peer, user, vhost, channels: new Set() }
    this.connections.add(connection)
    return connection
  }

  openChannel(connection: Connection, number: number, confirm: boolean): Channel {
    const channel: Channel = {
      number,
      connection,
      confirm,
      confirms: new Confirms(),
      consumers: new Map(),
      unacked: new Map(),
      publishSequence: 0,
      deliverySequence: 0,
      prefetch: 0,
      lastQueue: undefined,
      reply: undefined,
      isOpen: true
    }
    connection.channels.add(channel)
    return channel
  }

  closeChannel(channel: Channel): void {
    if (!channel.isOpen) return
    channel.isOpen = false
    channel.connection.channels.delete(channel)
    for (const consumer of channel.consumers.values()) this.#removeConsumer(channel, consumer)
    channel.consumers.clear()
    const unacked = [...channel.unacked.values()]
    channel.unacked.clear()
    this.#requeue(unacked, "abandoned")
    this.#heldConfirms = this.#heldConfirms.filter((held) => held.channel !== channel)
    this.#confirming.delete(channel)
  }

  /** The connection is over: what it had is given back, and what was only its own is deleted. */
  disconnect(connection: Connection): void {
    if (!this.connections.delete(connection)) return
    for (const channel of connection.channels) this.closeChannel(channel)
    for (const queue of connection.vhost.queues.values()) {
      if (queue.owner === connection) connection.vhost.deleteQueue(queue)
    }
    this.settle()
  }

  /** Handle a request and return its answer, or close the channel or the connection as RabbitMQ does. */
  request(channel: Channel, request: Request): { readonly value: unknown } | { readonly fault: ReplyFault } {
    return this.#guard(channel, methods[request._tag], () => {
      const value = this.#answer(channel, request)
      this.settle()
      return value
    })
  }

  /** Handle a command; what comes of it is sent as events. */
  command(channel: Channel, command: Command): void {
    this.#guard(channel, methods[command._tag], () => {
      switch (command._tag) {
        case "Publish":
          this.#publish(channel, command)
          break
        case "Ack":
          this.#acknowledge(channel, command.deliveryTag, command.multiple)
          break
        case "Nack":
          this.#refuse(channel, command.deliveryTag, command.multiple, command.requeue)
          break
        case "Reject":
          this.#refuse(channel, command.deliveryTag, false, command.requeue)
          break
      }
      this.settle()
    })
  }

  #guard(channel: Channel, method: MethodId, run: () => unknown): { readonly value: unknown } | {
    readonly fault: ReplyFault
  } {
    try {
      return { value: run() }
    } catch (fault) {
      if (!(fault instanceof ReplyFault)) throw fault
      this.fail(channel, fault, method)
      return { fault }
    }
  }

  /** Close a channel, or its whole connection, for a fault. */
  fail(channel: Channel, fault: ReplyFault, method: MethodId): void {
    // RabbitMQ sends the confirms that are due before it closes the channel.
    this.flushConfirms()
    if (fault.scope === "channel") {
      this.closeChannel(channel)
      channel.connection.peer.channelClosed(channel, fault, method)
    } else {
      this.disconnect(channel.connection)
      channel.connection.peer.connectionClosed(fault)
    }
    this.settle()
  }

  #answer(channel: Channel, request: Request): unknown {
    const { connection } = channel
    const { vhost } = connection
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
        if (this.#isReplyQueue(vhost, request.queue)) {
          return { queue: request.queue, messageCount: 0, consumerCount: 1 }
        }
        const queue = this.#useQueue(channel, request.queue)
        return { queue: queue.name, messageCount: queue.ready.length, consumerCount: queue.consumers.length }
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
        queue.lastUsedAt = this.timers.now
        const entry = queue.take(this.timers.now)
        if (entry === undefined) return Option.none()
        if (!request.noAck) queue.unackedCount++
        return Option.some(this.#delivery(channel, queue, entry, request.noAck, undefined))
      }
      case "Prefetch":
        channel.prefetch = request.count
        return undefined
      case "Consume":
        this.#consume(channel, request)
        return undefined
      case "Cancel":
        this.#cancel(channel, request.consumerTag)
        return undefined
    }
  }

  #assert(channel: Channel, permission: "configure" | "write" | "read", kind: Destination["kind"], name: string): void {
    this.accounts.assert(channel.connection.user, channel.connection.vhost.name, permission, kind, name)
  }

  #queueName(channel: Channel, name: string): string {
    if (name !== "") return name
    if (channel.lastQueue === undefined) throw notFound("no previously declared queue")
    return channel.lastQueue
  }

  #useQueue(channel: Channel, name: string): Queue {
    const queue = channel.connection.vhost.queueFor(channel.connection, this.#queueName(channel, name))
    this.#touched.add(queue)
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
      ? connection.vhost.declareQueue(declaration, connection, this.timers.now)
      : connection.vhost.addQueue({ ...declaration, queue: name }, connection, this.timers.now)
    channel.lastQueue = name
    this.#touched.add(queue)
    return { queue: name, messageCount: queue.ready.length, consumerCount: queue.consumers.length }
  }

  #deleteQueue(channel: Channel, request: Request & { readonly _tag: "DeleteQueue" }): number {
    const { vhost } = channel.connection
    this.#assert(channel, "configure", "queue", request.queue)
    if (!vhost.queues.has(this.#queueName(channel, request.queue))) return 0
    const queue = this.#useQueue(channel, request.queue)
    const what = named("queue", queue.name, vhost.name)
    if (request.ifEmpty && queue.ready.length > 0) throw preconditionFailed(`${what} not empty`)
    if (request.ifUnused && queue.consumers.length > 0) throw preconditionFailed(`${what} in use`)
    const count = queue.ready.length
    vhost.deleteQueue(queue)
    return count
  }

  #consume(channel: Channel, request: ConsumeRequest): void {
    const { connection } = channel
    const tag = request.consumerTag
    if (channel.consumers.has(tag) || channel.reply?.consumerTag === tag) {
      throw notAllowed(`attempt to reuse consumer tag '${tag}'`)
    }
    if (request.queue === replyToQueue) {
      if (!request.noAck) throw preconditionFailed("reply consumer cannot acknowledge")
      if (channel.reply !== undefined) throw preconditionFailed("reply consumer already set")
      channel.reply = { token: encodeToken(++this.#names), consumerTag: tag }
      return
    }
    const queue = this.#useQueue(channel, request.queue)
    this.#assert(channel, "read", "queue", queue.name)
    const priority = request.arguments["x-priority"]
    if (priority !== undefined && (typeof priority !== "number" || !Number.isInteger(priority))) {
      throw preconditionFailed(
        `invalid arg 'x-priority' for ${named("queue", queue.name, connection.vhost.name)}: ` +
          `"expected integer, got ${wireType(priority)}"`
      )
    }
    const isTaken = queue.consumers.some((other) => other.exclusive) ||
      (request.exclusive && (queue.consumers.length > 0 || queue.settings.singleActiveConsumer))
    if (isTaken) throw accessRefused(`${named("queue", queue.name, connection.vhost.name)} in exclusive use`)
    const consumer: Consumer = {
      tag,
      queue,
      noAck: request.noAck,
      exclusive: request.exclusive,
      prefetch: channel.prefetch,
      priority: priority ?? 0,
      unacked: 0,
      deliver: (entry) => {
        const delivery = this.#delivery(channel, queue, entry, request.noAck, consumer)
        connection.peer.send(channel, { _tag: "Deliver", consumerTag: tag, delivery })
      },
      cancelled: () => {
        channel.consumers.delete(tag)
        connection.peer.send(channel, { _tag: "CancelConsumer", consumerTag: tag })
      }
    }
    channel.consumers.set(tag, consumer)
    queue.addConsumer(consumer)
  }

  #cancel(channel: Channel, tag: string): void {
    if (channel.reply?.consumerTag === tag) channel.reply = undefined
    const consumer = channel.consumers.get(tag)
    if (consumer === undefined) return
    channel.consumers.delete(tag)
    this.#removeConsumer(channel, consumer)
  }

  #removeConsumer(channel: Channel, consumer: Consumer): void {
    const { queue } = consumer
    queue.removeConsumer(consumer, this.timers.now)
    if (queue.autoDelete && queue.consumers.length === 0) channel.connection.vhost.deleteQueue(queue)
    else this.#touched.add(queue)
  }

  /** Cancel the consumers of a queue as if the node that holds it had gone. */
  cancelConsumers(queue: Queue): void {
    for (const consumer of Array.from(queue.consumers)) {
      queue.removeConsumer(consumer, this.timers.now)
      consumer.cancelled()
    }
    this.#touched.add(queue)
    this.settle()
  }

  #delivery(
    channel: Channel,
    queue: Queue,
    entry: Entry,
    noAck: boolean,
    consumer: Consumer | undefined
  ): DriverDelivery {
    const { message } = entry
    const isGet = consumer === undefined
    const deliveryTag = ++channel.deliverySequence
    if (!noAck) channel.unacked.set(deliveryTag, { queue, entry, consumer })
    return {
      deliveryTag,
      redelivered: entry.redelivered,
      exchange: message.exchange,
      routingKey: message.routingKeys[0],
      properties: queue.settings.type === "quorum" && (entry.returns > 0 || (isGet && this.#dialect.countsFirstGet))
        ? {
          ...message.properties,
          headers: { ...message.properties.headers, "x-delivery-count": entry.returns }
        }
        : message.properties,
      body: message.body
    }
  }

  /** Take what one acknowledgement covers; an unknown tag closes the channel. */
  #takeUnacked(channel: Channel, deliveryTag: number, multiple: boolean): Array<Unacked> {
    const { unacked } = channel
    if (multiple && deliveryTag === 0) {
      const all = [...unacked.values()]
      unacked.clear()
      return all
    }
    const last = unacked.get(deliveryTag)
    if (last === undefined) throw preconditionFailed(`unknown delivery tag ${deliveryTag}`)
    if (!multiple) {
      unacked.delete(deliveryTag)
      return [last]
    }
    const taken: Array<Unacked> = []
    for (const [tag, one] of unacked) {
      if (tag > deliveryTag) break
      unacked.delete(tag)
      taken.push(one)
    }
    return taken
  }

  #release(unacked: ReadonlyArray<Unacked>): void {
    for (const { queue, consumer } of unacked) {
      if (!queue.isDeleted) queue.unackedCount--
      if (consumer !== undefined) consumer.unacked--
      this.#touched.add(queue)
    }
  }

  #acknowledge(channel: Channel, deliveryTag: number, multiple: boolean): void {
    this.#release(this.#takeUnacked(channel, deliveryTag, multiple))
  }

  #refuse(channel: Channel, deliveryTag: number, multiple: boolean, requeue: boolean): void {
    const unacked = this.#takeUnacked(channel, deliveryTag, multiple)
    if (requeue) this.#requeue(unacked, "refused")
    else {
      this.#release(unacked)
      for (const { queue, entry } of unacked) {
        if (!queue.isDeleted) this.deadLetter(queue, entry.message, "rejected", entry.returns > 0)
      }
    }
  }

  #requeue(unacked: ReadonlyArray<Unacked>, cause: "refused" | "abandoned"): void {
    this.#release(unacked)
    const byQueue = new Map<Queue, Array<Entry>>()
    for (const { queue, entry } of unacked) {
      if (queue.isDeleted) continue
      const entries = byQueue.get(queue)
      if (entries === undefined) byQueue.set(queue, [entry])
      else entries.push(entry)
    }
    for (const [queue, entries] of byQueue) queue.requeue(entries, cause, this.timers.now)
  }

  #publish(channel: Channel, command: PublishCommand): void {
    const { connection } = channel
    const { vhost, user } = connection
    const wire = command.message
    this.#assert(channel, "write", "exchange", wire.exchange)
    if (wire.exchange !== "" && vhost.exchange(wire.exchange).internal) {
      throw accessRefused(`cannot publish to internal ${named("exchange", wire.exchange, vhost.name)}`)
    }
    checkSize(wire.body, this.#dialect.maxMessageSize)
    checkProperties(wire.properties, user)
    const message = fromPublish(this.#withReplyTo(channel, wire))
    const tag = channel.confirm ? ++channel.publishSequence : 0
    if (this.faults.nackedConfirms > 0 && channel.confirm) {
      this.faults.nackedConfirms--
      this.#remember(vhost, wire, [])
      this.#confirm(channel, { tag, ack: false })
      return
    }
    const isReturned = wire.mandatory && this.faults.returnedPublishes > 0
    if (isReturned) this.faults.returnedPublishes--
    const { ack, queues } = isReturned ? { ack: true, queues: [] } : this.#put(vhost, message)
    const wasReplied = !isReturned && queues.length === 0 && this.#reply(vhost, message)
    if (queues.length === 0 && (!wasReplied || this.#dialect.returnsReplies) && wire.mandatory) {
      connection.peer.send(channel, {
        _tag: "Return",
        returned: {
          replyCode: 312,
          replyText: "NO_ROUTE",
          exchange: wire.exchange,
          routingKey: wire.routingKey,
          messageId: wire.properties.messageId
        }
      })
    }
    this.#remember(vhost, wire, queues)
    if (channel.confirm) this.#confirm(channel, { tag, ack })
  }

  #put(vhost: VirtualHost, message: Message): { readonly ack: boolean; readonly queues: ReadonlyArray<string> } {
    const now = this.timers.now
    const queues: Array<string> = []
    let ack = true
    for (const queue of vhost.route(message.exchange, message)) {
      queues.push(queue.name)
      if (!queue.offer(message, now)) ack = false
      if (queue.nextExpiry !== undefined) this.#touched.add(queue)
    }
    return { ack, queues }
  }

  #remember(vhost: VirtualHost, wire: WireMessage, queues: ReadonlyArray<string>): void {
    this.#published[this.#publishedCount++ % rememberedPublishes] = {
      vhost: vhost.name,
      exchange: wire.exchange,
      routingKey: wire.routingKey,
      messageId: wire.properties.messageId,
      body: wire.body,
      queues
    }
  }

  get published(): ReadonlyArray<PublishRecord> {
    const start = this.#publishedCount > rememberedPublishes ? this.#publishedCount % rememberedPublishes : 0
    return [...this.#published.slice(start), ...this.#published.slice(0, start)]
  }

  #withReplyTo(channel: Channel, wire: WireMessage): WireMessage {
    if (wire.properties.replyTo !== replyToQueue) return wire
    if (channel.reply === undefined) throw preconditionFailed("fast reply consumer does not exist")
    return { ...wire, properties: { ...wire.properties, replyTo: `${replyToQueue}.${channel.reply.token}` } }
  }

  /** Direct reply-to: hand the message to the channel whose token the routing key carries. */
  #reply(vhost: VirtualHost, message: Message): boolean {
    const key = message.routingKeys[0]
    if (message.exchange !== "" || !key.startsWith(`${replyToQueue}.`)) return false
    const channel = this.#replyChannel(vhost, key)
    if (channel?.reply === undefined) return false
    channel.connection.peer.send(channel, {
      _tag: "Deliver",
      consumerTag: channel.reply.consumerTag,
      delivery: {
        deliveryTag: ++channel.deliverySequence,
        redelivered: false,
        exchange: "",
        routingKey: key,
        properties: message.properties,
        body: message.body
      }
    })
    return true
  }

  /** The channel that consumes replies to this generated name. */
  #replyChannel(vhost: VirtualHost, name: string): Channel | undefined {
    for (const connection of this.connections) {
      if (connection.vhost !== vhost) continue
      for (const channel of connection.channels) {
        if (channel.reply !== undefined && name === `${replyToQueue}.${channel.reply.token}`) return channel
      }
    }
    return undefined
  }

  #isReplyQueue(vhost: VirtualHost, name: string): boolean {
    return name === replyToQueue ||
      (name.startsWith(`${replyToQueue}.`) && this.#replyChannel(vhost, name) !== undefined)
  }

  #confirm(channel: Channel, settled: Settled): void {
    const { faults } = this
    if (faults.lostConfirms > 0) {
      faults.lostConfirms--
      channel.confirms.keepOpen(settled.tag)
      return
    }
    switch (faults.confirms._tag) {
      case "Immediate":
        this.#sendConfirm(channel, settled)
        return
      case "Delayed":
        channel.confirms.keepOpen(settled.tag)
        this.timers.schedule(this.timers.now + faults.confirms.millis, () => {
          this.#sendConfirm(channel, settled)
          this.flushConfirms()
        })
        return
      case "Withheld":
        this.#hold(channel, settled)
        return
      case "Batched":
        this.#hold(channel, settled)
        if (this.#heldConfirms.length >= faults.confirms.size) this.releaseConfirms()
        return
      case "Reordered":
        this.#hold(channel, settled)
        if (this.#heldConfirms.length >= faults.confirms.size) this.#releaseShuffled()
        return
    }
  }

  #hold(channel: Channel, settled: Settled): void {
    channel.confirms.keepOpen(settled.tag)
    this.#heldConfirms.push({ channel, settled })
  }

  #sendConfirm(channel: Channel, settled: Settled): void {
    if (!channel.isOpen) return
    channel.confirms.settle(settled)
    this.#confirming.add(channel)
  }

  /** Send the confirms that were held back. */
  releaseConfirms(): void {
    for (const { channel, settled } of this.#heldConfirms.splice(0)) this.#sendConfirm(channel, settled)
    this.flushConfirms()
  }

  #releaseShuffled(): void {
    const held = this.#heldConfirms.splice(0)
    for (let i = held.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1))
      const swapped = held[i]!
      held[i] = held[j]!
      held[j] = swapped
    }
    for (const { channel, settled } of held) {
      this.#sendConfirm(channel, settled)
      this.flushConfirms()
    }
  }

  /** Put the confirms that are due on the wire. */
  flushConfirms(): void {
    if (this.#confirming.size === 0) return
    for (const channel of this.#confirming) {
      for (const { tag, multiple, ack } of channel.confirms.take()) {
        channel.connection.peer.send(channel, { _tag: "Confirm", deliveryTag: tag, multiple, ack })
      }
    }
    this.#confirming.clear()
  }

  deadLetter(queue: Queue, message: Message, reason: DeathReason, redelivered: boolean): void {
    if (queue.settings.deadLetterExchange !== undefined) this.#graves.push({ queue, message, reason, redelivered })
  }

  /** Carry out what the last change made due: dead letters, deliveries, timers. */
  settle(): void {
    while (this.#graves.length > 0 || this.#touched.size > 0) {
      for (const grave of this.#graves.splice(0)) this.#bury(grave)
      for (const queue of this.#touched) {
        this.#touched.delete(queue)
        if (queue.isDeleted) continue
        queue.deliverReady(this.timers.now)
        this.#setQueueTimer(queue)
      }
    }
  }

  #bury({ queue, message, reason, redelivered }: Grave): void {
    const { deadLetterExchange, deadLetterRoutingKey } = queue.settings
    if (deadLetterExchange === undefined) return
    const buried = bury(message, {
      reason,
      queue: queue.name,
      deadLetterExchange,
      deadLetterRoutingKey,
      now: this.timers.now,
      dialect: this.#dialect
    })
    const now = this.timers.now
    for (const target of queue.vhost.route(deadLetterExchange, buried)) {
      if (reason !== "rejected" && isCycle(buried, target.name)) continue
      target.offer(buried, now, redelivered && this.#dialect.keepsRedelivered)
      this.#touched.add(target)
    }
  }

  #setQueueTimer(queue: Queue): void {
    const expiry = queue.nextExpiry
    const { expires } = queue.settings
    const disuse = expires === undefined || queue.consumers.length > 0 ? undefined : queue.lastUsedAt + expires
    const at = expiry === undefined ? disuse : disuse === undefined ? expiry : Math.min(expiry, disuse)
    const current = this.#queueTimers.get(queue)
    if (current?.at === at) return
    current?.cancel()
    if (at === undefined) {
      this.#queueTimers.delete(queue)
      return
    }
    const timer = this.timers.schedule(at, () => {
      this.#queueTimers.delete(queue)
      if (queue.isDeleted) return
      const isDisused = expires !== undefined && queue.consumers.length === 0 && queue.lastUsedAt + expires <= at
      if (isDisused) queue.vhost.deleteQueue(queue)
      else {
        queue.expire(this.timers.now)
        this.#touched.add(queue)
      }
      this.settle()
    })
    this.#queueTimers.set(queue, timer)
  }

  #forgetQueue(queue: Queue): void {
    this.#queueTimers.get(queue)?.cancel()
    this.#queueTimers.delete(queue)
    this.#touched.delete(queue)
  }

  /** Forget what a restart forgets: what is not durable, and messages that are not persistent. */
  forgetTransient(): void {
    this.#heldConfirms = []
    for (const vhost of this.vhosts.values()) {
      for (const exchange of Array.from(vhost.exchanges.values())) {
        if (!exchange.durable && !this.#dialect.keepsTransientExchanges) vhost.dropExchange(exchange)
      }
      for (const queue of Array.from(vhost.queues.values())) {
        if (!queue.durable || queue.exclusive) vhost.deleteQueue(queue)
        else queue.forgetTransient([])
        this.#touched.add(queue)
      }
    }
    this.settle()
  }
}
