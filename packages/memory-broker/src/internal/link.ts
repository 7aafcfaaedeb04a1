/**
 * One connection with a wire in it: frames that a client wrote wait until the broker handles them, and what the broker
 * sent waits until the client is told. The client's calls only ever append, so no event comes from inside one.
 */
import type {
  DriverChannelEvents,
  DriverConnectionEvents,
  DriverConnectOptions,
  DriverDelivery
} from "effect-amqp/AmqpDriver"
import { fromReplyCode } from "effect-amqp/AmqpDriver"
import { AmqpError, ChannelClosed, ConnectionClosed, ConnectionLost } from "effect-amqp/AmqpError"
import type { AmqpErrorReason } from "effect-amqp/AmqpError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Channel, Connection, Peer } from "./channel.ts"
import type { Waiter } from "./clientChannel.ts"
import { ClientChannel } from "./clientChannel.ts"
import type { EndpointBehaviour } from "./endpoints.ts"
import type { ChannelEvent, Command, MethodId, Request } from "./frames.ts"
import { methods } from "./frames.ts"
import { admit } from "./handshake.ts"
import { noHeartbeat, Silence } from "./heartbeat.ts"
import type { Network } from "./network.ts"
import type { ReplyFault } from "./replyFault.ts"
import type { Traced } from "./trace.ts"
import type { Inbound, Outbound } from "./wire.ts"
import { Direction } from "./wire.ts"

const closedByUs = () => new AmqpError({ operation: "close", reason: new ConnectionClosed() })

export class Link implements Peer {
  readonly options: DriverConnectOptions
  readonly channels = new Map<number, ClientChannel>()
  /** How many channels the connection may have, as it has negotiated. */
  channelMax = 0
  readonly #network: Network<Link>
  readonly #events: DriverConnectionEvents
  readonly #onConnected: (exit: Effect.Effect<Link, AmqpError>) => void
  readonly #byServer = new Map<Channel, ClientChannel>()
  readonly #goodbyes = new Set<() => void>()
  readonly #inbound: Direction<Inbound>
  readonly #outbound: Direction<Outbound>
  #server: Connection | undefined
  /** The operation that the broker handles: whatever it sends now is caused by that. */
  #handling = "connection"
  #isBlocked = false
  #silence: Silence | undefined
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
    this.#inbound = new Direction(network)
    this.#outbound = new Direction(network)
    this.options = options
    this.#events = events
    this.#onConnected = onConnected
    this.#write({ _tag: "Handshake", due: network.now + network.broker.faults.connectDelay + network.latency })
  }

  get isOver(): boolean {
    return this.#state === "over"
  }

  #write(frame: Inbound): void {
    if (this.#state === "severed") return
    this.#inbound.push(frame)
    this.#network.wake(this)
  }

  #post(frame: Outbound): void {
    if (this.#state === "severed" || this.#state === "over") return
    this.#outbound.push(frame)
    this.#network.wake(this)
  }

  #trace(channel: number, direction: "in" | "out", traced: Traced): void {
    this.#network.trace(this.options.connectionName, channel, direction, traced)
  }

  openChannel(confirm: boolean, events: DriverChannelEvents): ClientChannel | undefined {
    let number = 1
    while (this.channels.has(number)) number++
    if (number > this.channelMax) return undefined
    const channel = new ClientChannel(number, confirm, events)
    this.channels.set(number, channel)
    return channel
  }

  request(channel: ClientChannel, request: Request, waiter: Waiter | undefined): void {
    if (waiter !== undefined) channel.waiters.add(waiter)
    this.#write({ _tag: "Request", due: this.#inbound.due(), channel, request, waiter })
  }

  command(channel: ClientChannel, command: Command): void {
    if (command._tag === "Publish") channel.publishWritten()
    this.#write({ _tag: "Command", due: this.#inbound.due(), channel, command })
  }

  /** Closes a channel that nobody holds. */
  closeQuietly(channel: ClientChannel): void {
    channel.state = "closing"
    this.request(channel, { _tag: "CloseChannel" }, undefined)
  }

  goodbye(done: () => void): () => void {
    if (this.#state === "over") {
      done()
      return () => {}
    }
    this.#goodbyes.add(done)
    if (this.#isBlocked) this.#leaveUnread()
    else this.#write({ _tag: "Goodbye", due: this.#inbound.due() })
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
    this.#write({ _tag: "Gone", due: 0 })
    this.#end(error)
  }

  /** The client gave up connecting. */
  abandon(): void {
    if (this.#state === "over") return
    this.#state = "over"
    this.#inbound.clear()
    this.#inbound.push({ _tag: "Gone", due: 0 })
    this.#outbound.clear()
    this.#network.forget(this)
    this.#network.wake(this)
  }

  /** Cuts the wire: what is under way in either direction is lost, the broker knows now, the client soon. */
  sever(reason: AmqpErrorReason): void {
    if (this.#state === "severed" || this.#state === "over") return
    const wasHandshake = this.#state === "handshake"
    this.#state = "severed"
    this.#inbound.clear()
    this.#outbound.clear()
    this.#leave()
    this.#trace(0, "out", { _tag: "Cut" })
    this.#network.later(() => {
      const error = new AmqpError({ operation: wasHandshake ? "connect" : "connection", reason })
      if (wasHandshake) this.#refuse(error)
      else this.#end(error)
    })
  }

  /** Looks if anything goes through, because that may have changed. */
  watch(): void {
    if (!this.#isUnreachable) this.#silence?.end()
    else {
      this.#silence?.begin(() => {
        this.#leave()
        this.#trace(0, "out", { _tag: "Cut" })
        this.#end(noHeartbeat())
      })
    }
  }

  // What the broker sends.

  send(server: Channel, event: ChannelEvent): void {
    const channel = this.#byServer.get(server)
    if (channel === undefined) return
    this.#trace(channel.number, "out", event)
    this.#post({ _tag: "Event", due: this.#outbound.due(), channel, event })
  }

  channelClosed(server: Channel, fault: ReplyFault, method: MethodId): void {
    const channel = this.#byServer.get(server)
    if (channel === undefined) return
    this.#byServer.delete(server)
    this.#trace(channel.number, "out", { _tag: "ChannelClosed", fault, method })
    this.#post({
      _tag: "ChannelClosed",
      due: this.#outbound.due(),
      channel,
      fault,
      method,
      operation: this.#handling
    })
  }

  connectionClosed(fault: ReplyFault): void {
    this.#byServer.clear()
    this.#inbound.clear()
    this.#trace(0, "out", { _tag: "ConnectionClosed", fault })
    this.#post({ _tag: "ConnectionClosed", due: this.#outbound.due(), fault, operation: this.#handling })
  }

  unblock(): void {
    if (!this.#isBlocked) return
    this.#isBlocked = false
    this.#trace(0, "out", { _tag: "Unblocked" })
    this.#post({ _tag: "Unblocked", due: this.#outbound.due() })
    this.#network.wake(this)
  }

  // What the broker reads.

  /** Lets the broker handle what has arrived. */
  process(): void {
    const next = this.#inbound.arrive(this.#read)
    if (next !== undefined) this.#network.wakeAt(this, next)
  }

  /** Lets the broker handle one frame. Returns `false` if the broker does not read it now. */
  readonly #read = (frame: Inbound): boolean => {
    if (this.#isUnreachable) return false
    if (frame._tag === "Gone") {
      this.#handle(frame)
      return true
    }
    if (this.#isIgnored(frame) || this.#isBlocked || this.#blocksOn(frame) || !this.#network.admit()) return false
    this.#handle(frame)
    if (this.#network.cutsNow()) this.sever(new ConnectionLost({ replyCode: undefined, replyText: "read ECONNRESET" }))
    return true
  }

  /** Tells if the endpoint that the client dialled leaves a frame unread. */
  #isIgnored(frame: Inbound): boolean {
    return this.#behaviour === "silent" || (this.#behaviour === "mute" && frame._tag !== "Handshake")
  }

  get #isUnreachable(): boolean {
    return this.#behaviour === "unreachable"
  }

  get #behaviour(): EndpointBehaviour {
    return this.#network.broker.endpoints.get(this.options.host, this.options.port)
  }

  #blocksOn(frame: Inbound): boolean {
    const { alarm } = this.#network.broker.faults
    if (alarm === undefined || frame._tag !== "Command" || frame.command._tag !== "Publish") return false
    this.#isBlocked = true
    this.#trace(0, "out", { _tag: "Blocked", reason: alarm })
    this.#post({ _tag: "Blocked", due: this.#outbound.due(), reason: alarm })
    if (this.#goodbyes.size > 0) this.#leaveUnread()
    return true
  }

  #handle(frame: Inbound): void {
    switch (frame._tag) {
      case "Handshake":
        this.#handshake()
        return
      case "Command":
        this.#handleCommand(frame.channel, frame.command)
        return
      case "Request":
        this.#handleRequest(frame.channel, frame.request, frame.waiter)
        return
      case "Goodbye":
        this.#trace(0, "in", { _tag: "Goodbye" })
        this.#leave()
        this.#inbound.clear()
        this.#post({ _tag: "GoodbyeOk", due: this.#outbound.due() })
        return
      case "Gone":
        this.#trace(0, "in", { _tag: "Gone" })
        this.#inbound.clear()
        this.#leave()
        return
    }
  }

  #leave(): void {
    this.#byServer.clear()
    if (this.#server !== undefined) this.#network.broker.disconnect(this.#server)
    this.#server = undefined
  }

  #handshake(): void {
    const { broker, isDown } = this.#network
    const admission = admit(broker, isDown, this.options)
    if ("refused" in admission) {
      this.#post({ _tag: "Refused", due: this.#outbound.due(), reason: admission.refused })
      return
    }
    this.#trace(0, "in", { _tag: "Handshake" })
    this.#silence = new Silence(broker.timers, this.options.heartbeat)
    this.channelMax = broker.faults.channelLimits.connection
    this.#server = broker.connect(this, this.options.username, admission.vhost)
    this.#post({ _tag: "Connected", due: this.#outbound.due() })
  }

  #handleCommand(channel: ClientChannel, command: Command): void {
    if (command._tag === "Publish" && channel.publishRead()) {
      this.#post({ _tag: "Event", due: this.#outbound.due(), channel, event: { _tag: "Drain" } })
    }
    if (channel.server?.isOpen !== true) return
    this.#trace(channel.number, "in", command)
    this.#handling = methods[command._tag].name
    this.#network.broker.command(channel.server, command)
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
    this.#trace(channel.number, "in", request)
    this.#handling = waiter?.operation ?? methods[request._tag].name
    const result = broker.request(server, request)
    if ("fault" in result) return
    if (request._tag === "CloseChannel") {
      broker.confirms.flush()
      broker.closeChannel(server)
      this.#byServer.delete(server)
      broker.settle()
    }
    this.#trace(channel.number, "out", { _tag: "Answer", request, value: result.value })
    this.#post({ _tag: "Answer", due: this.#outbound.due(), channel, request, waiter, value: result.value })
  }

  // What the client is told.

  /** Tells the client what has arrived for it. */
  flush(): void {
    if (this.#isUnreachable) return
    const next = this.#outbound.arrive(this.#tell)
    if (next !== undefined) this.#network.wakeAt(this, next)
  }

  readonly #tell = (frame: Outbound): boolean => {
    switch (frame._tag) {
      case "Connected":
        this.#state = "open"
        this.#onConnected(Effect.succeed(this))
        return true
      case "Refused":
        this.#refuse(new AmqpError({ operation: "connect", reason: frame.reason }))
        return true
      case "Answer":
        this.#tellAnswer(frame.channel, frame.request, frame.waiter, frame.value)
        return true
      case "Event":
        if (!frame.channel.tell(frame.event)) this.#giveBack(frame.channel, frame.event)
        return true
      case "ChannelClosed": {
        const { replyCode, replyText } = frame.fault
        const { classId, methodId } = frame.method
        this.#closeChannel(
          frame.channel,
          fromReplyCode({ operation: frame.operation, scope: "channel", replyCode, replyText, classId, methodId })
        )
        return true
      }
      case "ConnectionClosed": {
        const { operation } = frame
        const { replyCode, replyText } = frame.fault
        this.#end(fromReplyCode({ operation, scope: "connection", replyCode, replyText, classId: 0, methodId: 0 }))
        return true
      }
      case "Blocked":
        this.#events.onBlocked(frame.reason)
        return true
      case "Unblocked":
        this.#events.onUnblocked()
        return true
      case "GoodbyeOk":
        this.#end(closedByUs())
        return true
    }
  }

  /**
   * RabbitMQ 4.3 delivers to a consumer that it cancelled for a timeout, once the late messages are settled. As the
   * driver of amqplib does, end that consumer and give the message back.
   */
  #giveBack(channel: ClientChannel, event: ChannelEvent): void {
    if (event._tag !== "Deliver" || !channel.isOpen) return
    const { deliveryTag } = event.delivery
    this.request(channel, { _tag: "Cancel", consumerTag: event.consumerTag }, undefined)
    this.command(channel, { _tag: "Nack", deliveryTag, multiple: false, requeue: true })
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

  #closeChannel(channel: ClientChannel, error: AmqpError): void {
    if (channel.state === "closed") return
    channel.markClosed(error)
    this.channels.delete(channel.number)
    channel.tellClosed(error)
    channel.failWaiters(error)
  }

  #refuse(error: AmqpError): void {
    if (this.#state === "over") return
    this.#state = "over"
    this.#network.forget(this)
    this.#onConnected(Effect.fail(error))
  }

  /** The only place that tells a client that its connection is over. */
  #end(error: AmqpError): void {
    if (this.#state === "over") return
    this.#state = "over"
    this.error = error
    this.#outbound.clear()
    this.#network.forget(this)
    const channels = [...this.channels.values()]
    this.channels.clear()
    for (const channel of channels) channel.markClosed(error)
    for (const channel of channels) channel.tellClosed(error)
    this.#events.onClose(error)
    for (const channel of channels) channel.failWaiters(error)
    for (const done of this.#goodbyes) {
      this.#goodbyes.delete(done)
      done()
    }
  }
}
