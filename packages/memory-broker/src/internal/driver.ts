/**
 * The port, implemented on a {@link Network}.
 */
import type {
  AmqpDriver,
  DriverChannel,
  DriverChannelEvents,
  DriverConnection,
  DriverConnectionEvents,
  DriverConnectOptions,
  DriverDelivery,
  QueueInfo
} from "effect-amqp/AmqpDriver"
import { AmqpError, ChannelClosed, ChannelLimit, ConnectionClosed } from "effect-amqp/AmqpError"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { ClientChannel, Waiter } from "./clientChannel.ts"
import type { Request } from "./frames.ts"
import { Link } from "./link.ts"
import type { Network } from "./network.ts"

/** Sends a request and waits for its answer, or for the end of the channel. */
const call = <A>(
  link: Link,
  channel: ClientChannel,
  operation: string,
  request: Request
): Effect.Effect<A, AmqpError> =>
  Effect.callback((resume) => {
    if (channel.state === "closing" || channel.state === "closed") {
      const reason = channel.error?.reason ?? new ChannelClosed({ replyCode: undefined, replyText: "it is closed" })
      resume(Effect.fail(new AmqpError({ operation, reason })))
      return
    }
    const waiter: Waiter = {
      operation,
      succeed: (value) => resume(Effect.succeed(value as A)),
      fail: (error) => resume(Effect.fail(error)),
      isAbandoned: false
    }
    link.request(channel, request, waiter)
    return Effect.sync(() => {
      waiter.isAbandoned = true
    })
  })

const makeChannel = (link: Link, channel: ClientChannel): DriverChannel => ({
  isOpen: () => channel.isOpen,
  isWritable: () => !channel.isFull,
  publishUnsafe(message) {
    if (!channel.isOpen) return -1
    link.command(channel, { _tag: "Publish", message })
    return channel.confirm ? ++channel.published : 0
  },
  ackUnsafe(deliveryTag, multiple) {
    if (!channel.isOpen) return false
    link.command(channel, { _tag: "Ack", deliveryTag, multiple })
    return true
  },
  nackUnsafe(deliveryTag, multiple, requeue) {
    if (!channel.isOpen) return false
    link.command(channel, { _tag: "Nack", deliveryTag, multiple, requeue })
    return true
  },
  rejectUnsafe(deliveryTag, requeue) {
    if (!channel.isOpen) return false
    link.command(channel, { _tag: "Reject", deliveryTag, requeue })
    return true
  },
  declareExchange: (declaration) =>
    call<void>(link, channel, `declareExchange ${declaration.exchange}`, { _tag: "DeclareExchange", declaration }),
  checkExchange: (exchange) =>
    call<void>(link, channel, `checkExchange ${exchange}`, { _tag: "CheckExchange", exchange }),
  deleteExchange: (exchange, { ifUnused }) =>
    call<void>(link, channel, `deleteExchange ${exchange}`, { _tag: "DeleteExchange", exchange, ifUnused }),
  bindExchange: (binding) =>
    call<void>(link, channel, `bindExchange ${binding.destination}`, { _tag: "BindExchange", binding }),
  unbindExchange: (binding) =>
    call<void>(link, channel, `unbindExchange ${binding.destination}`, { _tag: "UnbindExchange", binding }),
  declareQueue: (declaration) =>
    call<QueueInfo>(link, channel, `declareQueue ${declaration.queue}`, { _tag: "DeclareQueue", declaration }),
  checkQueue: (queue) => call<QueueInfo>(link, channel, `checkQueue ${queue}`, { _tag: "CheckQueue", queue }),
  deleteQueue: (queue, { ifEmpty, ifUnused }) =>
    call<number>(link, channel, `deleteQueue ${queue}`, { _tag: "DeleteQueue", queue, ifUnused, ifEmpty }),
  purgeQueue: (queue) => call<number>(link, channel, `purgeQueue ${queue}`, { _tag: "PurgeQueue", queue }),
  bindQueue: (binding) => call<void>(link, channel, `bindQueue ${binding.queue}`, { _tag: "BindQueue", binding }),
  unbindQueue: (binding) => call<void>(link, channel, `unbindQueue ${binding.queue}`, { _tag: "UnbindQueue", binding }),
  get: (queue, { noAck }) =>
    call<Option.Option<DriverDelivery>>(link, channel, `get ${queue}`, { _tag: "Get", queue, noAck }),
  prefetch: (count) => call<void>(link, channel, "prefetch", { _tag: "Prefetch", count }),
  consume: ({ arguments: args, consumerTag, exclusive, noAck, queue }, events) =>
    Effect.suspend(() => {
      if (channel.isOpen) channel.consumers.set(consumerTag, events)
      return call<void>(link, channel, `consume ${queue}`, {
        _tag: "Consume",
        queue,
        consumerTag,
        noAck,
        exclusive,
        arguments: args
      })
    }),
  cancel: (consumerTag) => call<void>(link, channel, `cancel ${consumerTag}`, { _tag: "Cancel", consumerTag }),
  close: Effect.callback<void>((resume) => {
    if (!channel.isOpen) {
      resume(Effect.void)
      return
    }
    const done = () => resume(Effect.void)
    channel.state = "closing"
    link.request(channel, { _tag: "CloseChannel" }, {
      operation: "closeChannel",
      succeed: done,
      fail: done,
      isAbandoned: false
    })
  })
})

const openChannel = (
  link: Link,
  confirm: boolean,
  events: DriverChannelEvents
): Effect.Effect<DriverChannel, AmqpError> =>
  Effect.callback((resume) => {
    const operation = "openChannel"
    if (link.isOver) {
      resume(Effect.fail(new AmqpError({ operation, reason: link.error?.reason ?? new ConnectionClosed() })))
      return
    }
    const channel = link.openChannel(confirm, events)
    if (channel === undefined) {
      const reason = new ChannelLimit({ of: "connection", channelMax: link.channelMax })
      resume(Effect.fail(new AmqpError({ operation, reason })))
      return
    }
    const waiter: Waiter = {
      operation,
      succeed: () => resume(Effect.succeed(makeChannel(link, channel))),
      fail: (error) => resume(Effect.fail(error)),
      isAbandoned: false
    }
    link.request(channel, { _tag: "OpenChannel", confirm }, waiter)
    return Effect.sync(() => {
      waiter.isAbandoned = true
      channel.mute()
    })
  })

/** The largest frame in bytes, RabbitMQ's default. */
const frameMax = 131_072

const makeConnection = (link: Link, serverProperties: Readonly<Record<string, unknown>>): DriverConnection => ({
  serverProperties,
  frameMax,
  openChannel: ({ confirm }, events) => openChannel(link, confirm, events),
  updateSecret: () => Effect.void,
  close: Effect.callback<void>((resume) => {
    const forget = link.goodbye(() => resume(Effect.void))
    return Effect.sync(forget)
  }),
  destroyUnsafe: (error) => link.destroy(error)
})

/** Makes a driver that dials this network by any host and port. */
export const makeDriver = (
  network: Network<Link>,
  serverProperties: Readonly<Record<string, unknown>>
): AmqpDriver => ({
  name: "memory",
  connect: (options: DriverConnectOptions, events: DriverConnectionEvents) =>
    Effect.callback((resume) => {
      const link = new Link(network, options, events, (connected) => {
        resume(Effect.map(connected, (established) => makeConnection(established, serverProperties)))
      })
      network.links.add(link)
      return Effect.sync(() => link.abandon())
    })
})
