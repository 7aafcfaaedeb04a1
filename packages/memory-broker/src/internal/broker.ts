/**
 * The broker as a state machine. Connections and channels send it frames; it changes its state and sends frames back.
 * It is synchronous from end to end, and `link.ts` puts the wire and the Clock around it.
 */
import { Accounts } from "./accounts.ts"
import { AckTimeouts } from "./ackTimeouts.ts"
import type { Dialect } from "./brokerVersion.ts"
import type { Channel, Connection, Peer } from "./channel.ts"
import { makeChannel } from "./channel.ts"
import { ConfirmDesk } from "./confirmDesk.ts"
import { Consuming } from "./consuming.ts"
import { Deliveries } from "./deliveries.ts"
import { DirectReply } from "./directReply.ts"
import { DueWork } from "./dueWork.ts"
import { Endpoints } from "./endpoints.ts"
import type { Faults } from "./faults.ts"
import { noFaults } from "./faults.ts"
import type { Command, MethodId, Request } from "./frames.ts"
import { methods, noMethod } from "./frames.ts"
import { Publishing } from "./publishing.ts"
import type { PublishRecord } from "./publishLog.ts"
import type { Queue } from "./queue.ts"
import { Refusals } from "./refusals.ts"
import { fitted, notAllowed, ReplyFault } from "./replyFault.ts"
import { Requests } from "./requests.ts"
import type { Timers } from "./timers.ts"
import { VirtualHost } from "./virtualHost.ts"

const nodeName = "rabbit@memory"

export class Broker {
  readonly vhosts = new Map<string, VirtualHost>()
  readonly accounts: Accounts
  readonly connections = new Set<Connection>()
  readonly faults: Faults = noFaults()
  readonly refusals = new Refusals()
  readonly endpoints = new Endpoints()
  readonly timers: Timers
  readonly confirms: ConfirmDesk
  readonly #dialect: Dialect
  readonly #due: DueWork
  readonly #ackTimeouts: AckTimeouts
  readonly #deliveries: Deliveries
  readonly #consuming: Consuming
  readonly #requests: Requests
  readonly #publishing: Publishing

  constructor(timers: Timers, random: () => number, dialect: Dialect) {
    this.timers = timers
    this.#dialect = dialect
    const { faults } = this
    const accounts = new Accounts(dialect)
    const confirms = new ConfirmDesk(faults, timers, random)
    const due = new DueWork(timers, dialect)
    const replies = new DirectReply(this.connections)
    const fail = (channel: Channel, fault: ReplyFault) => this.fail(channel, fault, noMethod)
    const ackTimeouts = new AckTimeouts({ timers, dialect, faults, due, fail })
    const deliveries = new Deliveries({ timers, dialect, due, ackTimeouts })
    const consuming = new Consuming({ timers, accounts, due, deliveries, replies })
    this.accounts = accounts
    this.confirms = confirms
    this.#due = due
    this.#ackTimeouts = ackTimeouts
    this.#deliveries = deliveries
    this.#consuming = consuming
    this.#requests = new Requests({ timers, accounts, due, deliveries, consuming, replies })
    this.#publishing = new Publishing({ timers, dialect, accounts, faults, due, confirms, replies })
    this.addVirtualHost("/")
  }

  addVirtualHost(name: string): void {
    if (!this.vhosts.has(name)) {
      this.vhosts.set(
        name,
        new VirtualHost(name, this.#dialect, this.#due, () => this.timers.now)
      )
    }
  }

  get published(): ReadonlyArray<PublishRecord> {
    return this.#publishing.log.records
  }

  connect(peer: Peer, user: string, vhost: VirtualHost): Connection {
    const connection: Connection = { peer, user, vhost, channels: new Set() }
    this.connections.add(connection)
    return connection
  }

  openChannel(connection: Connection, number: number, confirm: boolean): Channel {
    const channel = makeChannel(connection, number, confirm, this.timers.now)
    connection.channels.add(channel)
    return channel
  }

  closeChannel(channel: Channel): void {
    if (!channel.isOpen) return
    channel.isOpen = false
    channel.connection.channels.delete(channel)
    this.#ackTimeouts.forget(channel)
    this.#consuming.abandon(channel)
    this.#deliveries.abandon(channel)
    this.confirms.forget(channel)
  }

  /** Ends a connection: its messages are given back, and its exclusive queues are deleted. */
  disconnect(connection: Connection): void {
    if (!this.connections.delete(connection)) return
    for (const channel of connection.channels) this.closeChannel(channel)
    for (const queue of connection.vhost.queues.values()) {
      if (queue.owner === connection) connection.vhost.deleteQueue(queue)
    }
    this.settle()
  }

  /** Handles a request and returns its answer, or closes the channel or the connection as RabbitMQ does. */
  request(channel: Channel, request: Request): { readonly value: unknown } | { readonly fault: ReplyFault } {
    return this.#guard(channel, methods[request._tag], () => {
      this.refusals.assertAccepted(request)
      if (request._tag === "OpenChannel") this.#assertChannels(channel.connection)
      const value = this.#requests.answer(channel, request)
      this.settle()
      return value
    })
  }

  /** Refuses a channel too many; it is open already. */
  #assertChannels({ user }: Connection): void {
    const { bracketsChannelLimit, limitsChannelsOfNode, namesNodeForUser } = this.#dialect
    const { channelLimits } = this.faults
    const connections = Array.from(this.connections)
    const count = (some: ReadonlyArray<Connection>) => some.reduce((sum, { channels }) => sum + channels.size, 0)
    const written = (limit: number) => bracketsChannelLimit ? `(${limit})` : String(limit)
    if (count(connections.filter((one) => one.user === user)) > channelLimits.user) {
      throw notAllowed(
        `number of channels opened for user '${
          namesNodeForUser ? nodeName : user
        }' has reached the maximum allowed user ` +
          `limit of ${written(channelLimits.user)}`
      )
    }
    if (limitsChannelsOfNode && count(connections) > channelLimits.node) {
      throw notAllowed(
        `number of channels opened on node '${nodeName}' has reached the maximum allowed limit of ` +
          written(channelLimits.node)
      )
    }
  }

  /** Handles a command. Its effects are sent as events. */
  command(channel: Channel, command: Command): void {
    this.#guard(channel, methods[command._tag], () => {
      this.refusals.assertAccepted(command)
      switch (command._tag) {
        case "Publish":
          this.#publishing.publish(channel, command)
          break
        case "Ack":
          this.#deliveries.acknowledge(channel, command.deliveryTag, command.multiple)
          break
        case "Nack":
          this.#deliveries.nack(channel, command.deliveryTag, command.multiple, command.requeue)
          break
        case "Reject":
          this.#deliveries.reject(channel, command.deliveryTag, command.requeue)
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

  /** Closes a channel, or its whole connection, for a fault. */
  fail(channel: Channel, cause: ReplyFault, method: MethodId): void {
    const fault = fitted(cause, this.#dialect)
    // RabbitMQ sends the confirms that are due before it closes the channel.
    this.confirms.flush()
    if (fault.scope === "channel") {
      this.closeChannel(channel)
      channel.connection.peer.channelClosed(channel, fault, method)
    } else {
      this.disconnect(channel.connection)
      channel.connection.peer.connectionClosed(fault)
    }
    this.settle()
  }

  /** Cancels the consumers of a queue as if the node that holds it had gone. */
  cancelConsumers(queue: Queue): void {
    this.#consuming.cancelAll(queue)
    this.settle()
  }

  /** Changes how long delivered messages may stay unacknowledged, in milliseconds. */
  setAckTimeout(millis: number): void {
    this.faults.ackTimeout = millis
    for (const connection of this.connections) {
      for (const channel of Array.from(connection.channels)) this.#ackTimeouts.lookAgain(channel)
    }
  }

  /** Carries out the work that the last change left: dead letters, deliveries, timers. */
  settle(): void {
    this.#due.carryOut()
  }

  /** Forgets what a restart does not keep: transient entities, and messages that are not persistent. */
  forgetTransient(): void {
    this.confirms.forgetHeld()
    for (const vhost of this.vhosts.values()) {
      for (const exchange of Array.from(vhost.exchanges.values())) {
        if (!exchange.durable && !this.#dialect.keepsTransientExchanges) vhost.dropExchange(exchange)
      }
      for (const queue of Array.from(vhost.queues.values())) {
        if (!queue.durable || queue.exclusive) vhost.deleteQueue(queue)
        else queue.restart()
        this.#due.touch(queue)
      }
    }
    this.settle()
  }
}
