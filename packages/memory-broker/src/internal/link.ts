/**
 * One connection with a wire in it: frames that a client wrote wait here until the broker handles them, and what the
 * broker sent waits until the client is told. The client's calls only ever append, so no event comes from inside one.
 */
import type {
  DriverChannelEvents,
  DriverConnectionEvents,
  DriverConnectOptions,
  DriverConsumerEvents,
  DriverDelivery
} from "effect-amqp/AmqpDriver"
import { fromReplyCode } from "effect-amqp/AmqpDriver"
import {
  AmqpError,
  AuthenticationRefused,
  ChannelClosed,
  ConnectionClosed,
  ConnectionLost,
  ConnectionRefused,
  VhostRefused
} from "effect-amqp/AmqpError"
import type { AmqpErrorReason } from "effect-amqp/AmqpError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Channel, Connection, Peer } from "./broker.ts"
import type { ChannelEvent, Command, MethodId, Request } from "./frames.ts"
import { methods } from "./frames.ts"
import type { Network } from "./network.ts"
import type { ReplyFault } from "./replyFault.ts"

/** Somebody who waits for an answer. Once abandoned, the answer is undone instead of delivered. */
export interface Waiter {
  readonly operation: string
  readonly succeed: (value: unknown) => void
  readonly fail: (error: AmqpError) => void
  isAbandoned: boolean
}

/** The client's end of a channel. */
export interface ClientChannel {
  readonly number: number
  readonly confirm: boolean
  events: DriverChannelEvents
  readonly consumers: Map<string, DriverConsumerEvents>
  readonly waiters: Set<Waiter>
  published: number
  /** Frames of publishes that the broker has not read. */
  buffered: number
  isFull: boolean
  state: "opening" | "open" | "closing" | "closed"
  /** Why it is closed. */
  error: AmqpError | undefined
  server: Channel | undefined
}

type Inbound =
  | { readonly _tag: "Handshake"; readonly due: number }
  | {
    readonly _tag: "Request"
    readonly due: number
    readonly channel: ClientChannel
    readonly request: Request
    readonly waiter: Waiter | undefined
  }
  | { readonly _tag: "Command"; readonly due: number; readonly channel: ClientChannel; readonly command: Command }
  | { readonly _tag: "Goodbye"; readonly due: number }
  | { readonly _tag: "Gone"; readonly due: number }

type Outbound =
  | { readonly _tag: "Connected"; readonly due: number }
  | { readonly _tag: "Refused"; readonly due: number; readonly reason: AmqpErrorReason }
  | {
    readonly _tag: "Answer"
    readonly due: number
    readonly channel: ClientChannel
    readonly request: Request
    readonly waiter: Waiter | undefined
    readonly value: unknown
  }
  | { readonly _tag: "Event"; readonly due: number; readonly channel: ClientChannel; readonly event: ChannelEvent }
  | {
    readonly _tag: "ChannelClosed"
    readonly due: number
    readonly channel: ClientChannel
    readonly fault: ReplyFault
    readonly method: MethodId
    readonly operation: string
  }
  | { readonly _tag: "ConnectionClosed"; readonly due: number; readonly fault: ReplyFault; readonly operation: string }
  | { readonly _tag: "Blocked"; readonly due: number; readonly reason: string }
  | { readonly _tag: "Unblocked"; readonly due: number }
  | { readonly _tag: "GoodbyeOk"; readonly due: number }

/** Publishes that a client may have written and the broker not read, before the client is told to wait. */
const highWater = 2047

/** `channel_max` of RabbitMQ. */
export const channelMax = 2047

const closedByUs = () => new AmqpError({ operation: "close", reason: new ConnectionClosed() })

export class Link implements Peer {
  readonly options: DriverConnectOptions
  readonly #network: Network<Link>
  readonly #events: DriverConnectionEvents
  readonly #onConnected: (exit: Effect.Effect<Link, AmqpError>) => void
  readonly channels = new Map<number, ClientChannel>()
  readonly #byServer = new Map<Channel, ClientChannel>()
  readonly #goodbyes = new Set<() => void>()
  #inbound: Array<Inbound> = []
  #outbound: Array<Outbound> = []
  #lastInboundDue = 0
  #lastOutboundDue = 0
  #server: Connection | undefined
  #handling = "connection"
  #isBlocked = false
  /** Why it is over. */
  error: AmqpError | undefined
  /** `severed`: the wire is cut and the client does not know yet. `over`: it does. */
  #state: "handshake" | "open" | "severed" | "over" = "handshake"

  constructor(
    network: Network<Link>,
    options: DriverConnectOptions,
    events: DriverConnectionEvents,
    onConnected: (exit: Effect.Effect<Link, AmqpError>) => void
  ) {
    this.#network = network
    this.options = options
    this.#events = events
    this.#onConnected = onConnected
    const { connectDelay, latency } = network.broker.faults
    this.#write({ _tag: "Handshake", due: network.now + connectDelay + latency })
  }

  get isOver(): boolean {
    return this.#state === "over"
  }

  #write(frame: Inbound): void {
    if (this.#state === "severed") return
    this.#inbound.push(frame)
    this.#network.wake(this)
  }

  #inboundDue(): number {
    const { latency } = this.#network.broker.faults
    if (latency === 0 && this.#lastInboundDue === 0) return 0
    this.#lastInboundDue = Math.max(this.#lastInboundDue, this.#network.now + latency)
    return this.#lastInboundDue
  }

  openChannel(confirm: boolean, events: DriverChannelEvents): ClientChannel | undefined {
    let number = 1
    while (this.channels.has(number)) number++
    if (number > channelMax) return undefined
    const channel: ClientChannel = {
      number,
      confirm,
      events,
      consumers: new Map(),
      waiters: new Set(),
      published: 0,
      buffered: 0,
      isFull: false,
      state: "opening",
      error: undefined,
      server: undefined
    }
    this.channels.set(number, channel)
    return channel
  }

  request(channel: ClientChannel, request: Request, waiter: Waiter | undefined): void {
    if (waiter !== undefined) channel.waiters.add(waiter)
    this.#write({ _tag: "Request", due: this.#inboundDue(), channel, request, waiter })
  }

  command(channel: ClientChannel, command: Command): void {
    if (command._tag === "Publish" && ++channel.buffered >= highWater) channel.isFull = true
    this.#write({ _tag: "Command", due: this.#inboundDue(), channel, command })
  }

  goodbye(done: () => void): () => void {
    if (this.#state === "over") {
      done()
      return () => {}
    }
    this.#goodbyes.add(done)
    if (this.#isBlocked) this.#leaveUnread()
    else this.#write({ _tag: "Goodbye", due: this.#inboundDue() })
    return () => this.#goodbyes.delete(done)
  }

  /** Nobody reads a goodbye until the alarm is over, and RabbitMQ's clients do not wait for that. */
  #leaveUnread(): void {
    this.#write({ _tag: "Gone", due: 0 })
    this.#network.later(() => this.#end(closedByUs()))
  }

  /** The client drops its socket: it is told at once, the broker when it has read what was written before. */
  destroy(error: AmqpError): void {
    if (this.#state === "over") return
    if (this.#state === "severed") {
      this.#end(error)
      return
    }
    this.#inbound.push({ _tag: "Gone", due: 0 })
    this.#network.wake(this)
    this.#end(error)
  }

  send(server: Channel, event: ChannelEvent): void {
    const channel = this.#byServer.get(server)
    if (channel === undefined) return
    this.#network.trace(this.options.connectionName, channel.number, "out", event)
    this.#post({ _tag: "Event", due: this.#outboundDue(), channel, event })
  }

  channelClosed(server: Channel, fault: ReplyFault, method: MethodId): void {
    const channel = this.#byServer.get(server)
    if (channel === undefined) return
    this.#byServer.delete(server)
    this.#network.trace(this.options.connectionName, channel.number, "out", { _tag: "ChannelClosed", fault, method })
    this.#post({
      _tag: "ChannelClosed",
      due: this.#outboundDue(),
      channel,
      fault,
      method,
      operation: this.#handling
    })
  }

  connectionClosed(fault: ReplyFault): void {
    this.#byServer.clear()
    this.#inbound = []
    this.#network.trace(this.options.connectionName, 0, "out", { _tag: "ConnectionClosed", fault })
    this.#post({ _tag: "ConnectionClosed", due: this.#outboundDue(), fault, operation: this.#handling })
  }

  unblock(): void {
    if (!this.#isBlocked) return
    this.#isBlocked = false
    this.#network.trace(this.options.connectionName, 0, "out", { _tag: "Unblocked" })
    this.#post({ _tag: "Unblocked", due: this.#outboundDue() })
    this.#network.wake(this)
  }

  #outboundDue(): number {
    const { latency } = this.#network.broker.faults
    if (latency === 0 && this.#lastOutboundDue === 0) return 0
    this.#lastOutboundDue = Math.max(this.#lastOutboundDue, this.#network.now + latency)
    return this.#lastOutboundDue
  }

  #post(frame: Outbound): void {
    if (this.#state === "severed" || this.#state === "over") return
    this.#outbound.push(frame)
    this.#network.wake(this)
  }

  /** Cut the wire: what is under way in either direction is lost, the broker knows now, the client soon. */
  sever(reason: AmqpErrorReason): void {
    if (this.#state === "severed" || this.#state === "over") return
    const wasHandshake = this.#state === "handshake"
    this.#state = "severed"
    this.#inbound = []
    this.#outbound = []
    this.#leave()
    this.#network.trace(this.options.connectionName, 0, "out", { _tag: "Cut" })
    this.#network.later(() => {
      const error = new AmqpError({ operation: wasHandshake ? "connect" : "connection", reason })
      if (wasHandshake) this.#refuse(error)
      else this.#end(error)
    })
  }

  #leave(): void {
    this.#byServer.clear()
    if (this.#server !== undefined) this.#network.broker.disconnect(this.#server)
    this.#server = undefined
  }

  /** Let the broker handle what has arrived. */
  process(): void {
    let handled = 0
    const inbound = this.#inbound
    while (handled < inbound.length && this.#inbound === inbound) {
      const frame = inbound[handled]!
      if (frame.due > this.#network.now) {
        this.#network.wakeAt(this, frame.due)
        break
      }
      if (frame._tag !== "Gone") {
        if (this.#isBlocked) break
        if (this.#blocksOn(frame)) break
        if (!this.#network.admit()) break
      }
      handled++
      this.#handle(frame)
      if (frame._tag !== "Gone" && this.#network.cutsNow()) {
        this.sever(new ConnectionLost({ replyCode: undefined, replyText: "read ECONNRESET" }))
      }
    }
    if (this.#inbound === inbound) {
      if (handled === inbound.length) this.#inbound = []
      else if (handled > 0) this.#inbound = inbound.slice(handled)
    }
  }

  #blocksOn(frame: Inbound): boolean {
    const { alarm } = this.#network.broker.faults
    if (alarm === undefined || this.#isBlocked || frame._tag !== "Command" || frame.command._tag !== "Publish") {
      return false
    }
    this.#isBlocked = true
    this.#network.trace(this.options.connectionName, 0, "out", { _tag: "Blocked", reason: alarm })
    this.#post({ _tag: "Blocked", due: this.#outboundDue(), reason: alarm })
    if (this.#goodbyes.size > 0) this.#leaveUnread()
    return true
  }

  #handle(frame: Inbound): void {
    switch (frame._tag) {
      case "Handshake":
        this.#handshake()
        return
      case "Command": {
        const { channel, command } = frame
        if (command._tag === "Publish") this.#read(channel)
        if (channel.server?.isOpen !== true) return
        this.#network.trace(this.options.connectionName, channel.number, "in", command)
        this.#handling = methods[command._tag].name
        this.#network.broker.command(channel.server, command)
        return
      }
      case "Request":
        this.#handleRequest(frame.channel, frame.request, frame.waiter)
        return
      case "Goodbye":
        this.#network.trace(this.options.connectionName, 0, "in", { _tag: "Goodbye" })
        this.#leave()
        this.#inbound = []
        this.#post({ _tag: "GoodbyeOk", due: this.#outboundDue() })
        return
      case "Gone":
        this.#network.trace(this.options.connectionName, 0, "in", { _tag: "Gone" })
        this.#inbound = []
        this.#leave()
        return
    }
  }

  #read(channel: ClientChannel): void {
    channel.buffered--
    if (channel.isFull && channel.buffered === 0) {
      this.#post({ _tag: "Event", due: this.#outboundDue(), channel, event: { _tag: "Drain" } })
    }
  }

  #handshake(): void {
    const { broker, isDown } = this.#network
    const { host, port, username, password, vhost: name } = this.options
    const address = { host, port }
    if (isDown || broker.faults.refusedConnects > 0) {
      if (!isDown) broker.faults.refusedConnects--
      const detail = `connect ECONNREFUSED ${host}:${port}`
      this.#post({ _tag: "Refused", due: this.#outboundDue(), reason: new ConnectionRefused({ address, detail }) })
      return
    }
    if (!broker.accounts.authenticates(username, password)) {
      const replyText =
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the " +
        "broker logfile."
      this.#post({
        _tag: "Refused",
        due: this.#outboundDue(),
        reason: new AuthenticationRefused({ address, replyText })
      })
      return
    }
    const vhost = broker.vhosts.get(name)
    if (vhost === undefined || !broker.accounts.mayUse(username, name)) {
      const replyText = vhost === undefined
        ? `NOT_ALLOWED - vhost ${name} not found`
        : `NOT_ALLOWED - access to vhost '${name}' refused for user '${username}'`
      this.#post({
        _tag: "Refused",
        due: this.#outboundDue(),
        reason: new VhostRefused({ address, vhost: name, replyCode: 530, replyText })
      })
      return
    }
    this.#network.trace(this.options.connectionName, 0, "in", { _tag: "Handshake" })
    this.#server = broker.connect(this, username, vhost)
    this.#post({ _tag: "Connected", due: this.#outboundDue() })
  }

  #handleRequest(channel: ClientChannel, request: Request, waiter: Waiter | undefined): void {
    const { broker } = this.#network
    if (request._tag === "OpenChannel") {
      if (this.#server === undefined) return
      channel.server = broker.openChannel(this.#server, channel.number, request.confirm)
      this.#byServer.set(channel.server, channel)
    }
    const { server } = channel
    if (server?.isOpen !== true) return
    this.#network.trace(this.options.connectionName, channel.number, "in", request)
    this.#handling = waiter?.operation ?? methods[request._tag].name
    const result = broker.request(server, request)
    if ("fault" in result) return
    if (request._tag === "CloseChannel") {
      broker.flushConfirms()
      broker.closeChannel(server)
      this.#byServer.delete(server)
      broker.settle()
    }
    this.#network.trace(this.options.connectionName, channel.number, "out", {
      _tag: "Answer",
      request,
      value: result.value
    })
    this.#post({ _tag: "Answer", due: this.#outboundDue(), channel, request, waiter, value: result.value })
  }

  /** Tell the client what has arrived for it. */
  flush(): void {
    let told = 0
    const outbound = this.#outbound
    while (told < outbound.length && this.#outbound === outbound) {
      const frame = outbound[told]!
      if (frame.due > this.#network.now) {
        this.#network.wakeAt(this, frame.due)
        break
      }
      told++
      this.#tell(frame)
    }
    if (this.#outbound === outbound) this.#outbound = told === outbound.length ? [] : outbound.slice(told)
  }

  #tell(frame: Outbound): void {
    switch (frame._tag) {
      case "Connected":
        this.#state = "open"
        this.#onConnected(Effect.succeed(this))
        return
      case "Refused":
        this.#refuse(new AmqpError({ operation: "connect", reason: frame.reason }))
        return
      case "Answer":
        this.#tellAnswer(frame.channel, frame.request, frame.waiter, frame.value)
        return
      case "Event":
        this.#tellEvent(frame.channel, frame.event)
        return
      case "ChannelClosed": {
        const { replyCode, replyText } = frame.fault
        const { classId, methodId } = frame.method
        this.#closeChannel(
          frame.channel,
          fromReplyCode({ operation: frame.operation, scope: "channel", replyCode, replyText, classId, methodId })
        )
        return
      }
      case "ConnectionClosed": {
        const { replyCode, replyText } = frame.fault
        this.#end(
          fromReplyCode({
            operation: frame.operation,
            scope: "connection",
            replyCode,
            replyText,
            classId: 0,
            methodId: 0
          })
        )
        return
      }
      case "Blocked":
        this.#events.onBlocked(frame.reason)
        return
      case "Unblocked":
        this.#events.onUnblocked()
        return
      case "GoodbyeOk":
        this.#end(closedByUs())
        return
    }
  }

  #tellAnswer(channel: ClientChannel, request: Request, waiter: Waiter | undefined, value: unknown): void {
    if (waiter !== undefined) channel.waiters.delete(waiter)
    switch (request._tag) {
      case "OpenChannel":
        channel.state = "open"
        if (waiter?.isAbandoned === true) this.closeQuietly(channel)
        break
      case "CloseChannel":
        this.#closeChannel(
          channel,
          new AmqpError({
            operation: "channel",
            reason: new ChannelClosed({ replyCode: undefined, replyText: "it is closed" })
          })
        )
        break
      case "Cancel":
        channel.consumers.delete(request.consumerTag)
        break
      case "Consume":
        if (waiter?.isAbandoned === true) {
          this.request(channel, { _tag: "Cancel", consumerTag: request.consumerTag }, undefined)
        }
        break
      case "Get":
        if (waiter?.isAbandoned === true && !request.noAck) {
          const got = value as Option.Option<DriverDelivery>
          if (Option.isSome(got)) {
            const { deliveryTag } = got.value
            this.command(channel, { _tag: "Nack", deliveryTag, multiple: false, requeue: true })
          }
        }
        break
    }
    if (waiter?.isAbandoned === false) waiter.succeed(value)
  }

  /** Close a channel that nobody holds. */
  closeQuietly(channel: ClientChannel): void {
    channel.state = "closing"
    this.request(channel, { _tag: "CloseChannel" }, undefined)
  }

  #tellEvent(channel: ClientChannel, event: ChannelEvent): void {
    if (channel.state === "closed") return
    switch (event._tag) {
      case "Confirm":
        channel.events.onConfirm(event.deliveryTag, event.multiple, event.ack)
        return
      case "Return":
        channel.events.onReturn(event.returned)
        return
      case "Deliver":
        channel.consumers.get(event.consumerTag)?.onDelivery(event.delivery)
        return
      case "CancelConsumer": {
        const consumer = channel.consumers.get(event.consumerTag)
        channel.consumers.delete(event.consumerTag)
        consumer?.onCancel()
        return
      }
      case "Drain":
        channel.isFull = false
        channel.events.onDrain()
        return
    }
  }

  #closeChannel(channel: ClientChannel, error: AmqpError): void {
    if (channel.state === "closed") return
    channel.state = "closed"
    channel.error = error
    this.channels.delete(channel.number)
    channel.consumers.clear()
    channel.events.onClose(error)
    this.#failWaiters(channel, error)
  }

  #failWaiters(channel: ClientChannel, error: AmqpError): void {
    for (const waiter of channel.waiters) {
      channel.waiters.delete(waiter)
      if (!waiter.isAbandoned) waiter.fail(new AmqpError({ operation: waiter.operation, reason: error.reason }))
    }
  }

  #refuse(error: AmqpError): void {
    if (this.#state === "over") return
    this.#state = "over"
    this.#network.forget(this)
    this.#onConnected(Effect.fail(error))
  }

  /** The client gave up connecting. */
  abandon(): void {
    if (this.#state === "over") return
    this.#state = "over"
    this.#inbound = [{ _tag: "Gone", due: 0 }]
    this.#outbound = []
    this.#network.forget(this)
    this.#network.wake(this)
  }

  /** The only place that tells a client that its connection is over. */
  #end(error: AmqpError): void {
    if (this.#state === "over") return
    this.#state = "over"
    this.error = error
    this.#outbound = []
    this.#network.forget(this)
    const channels = [...this.channels.values()]
    this.channels.clear()
    for (const channel of channels) {
      channel.state = "closed"
      channel.error = error
      channel.consumers.clear()
    }
    for (const channel of channels) channel.events.onClose(error)
    this.#events.onClose(error)
    for (const channel of channels) this.#failWaiters(channel, error)
    for (const done of this.#goodbyes) {
      this.#goodbyes.delete(done)
      done()
    }
  }
}
