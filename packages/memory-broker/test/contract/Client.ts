/**
 * A client that keeps a record of everything the driver tells it, for the contract tests.
 */
import type { Duration } from "effect"
import { Deferred, Effect, Option, Queue, Redacted } from "effect"
import type {
  Arguments,
  DriverChannel,
  DriverConnection,
  DriverDelivery,
  DriverReturn,
  ExchangeDeclaration,
  QueueDeclaration,
  WireProperties
} from "effect-amqp/AmqpDriver"
import type { AmqpError } from "effect-amqp/AmqpError"
import { Broker } from "./Broker.ts"

export interface Connection extends DriverConnection {
  readonly blocked: Queue.Dequeue<string>
  readonly closed: Deferred.Deferred<AmqpError>
  /** The names of what happened, in order: `channel closed`, `connection closed`. */
  readonly endings: Array<string>
}

export interface Channel extends DriverChannel {
  readonly returns: Array<DriverReturn>
  /** `return <messageId>`, `ack <tag>` and `nack <tag>`, with `multiple` spelled out, in the order of arrival. */
  readonly outcomes: Array<string>
  readonly closed: Deferred.Deferred<AmqpError>
  /** Wait for the confirm of a tag; true for an ack. */
  readonly confirmed: (tag: number) => Effect.Effect<boolean>
}

export const connect = Effect.fnUntraced(function*(options: {
  readonly username?: string
  readonly password?: Redacted.Redacted<string>
  readonly vhost?: string
  readonly host?: string
  readonly port?: number
  /** Seconds. */
  readonly heartbeat?: number
} = {}) {
  const broker = yield* Broker
  const closed = yield* Deferred.make<AmqpError>()
  const blocked = yield* Queue.unbounded<string>()
  const endings: Array<string> = []
  const connection = yield* Effect.acquireRelease(
    broker.driver.connect({
      host: options.host ?? broker.host,
      port: options.port ?? broker.port,
      tls: undefined,
      vhost: options.vhost ?? broker.vhost,
      username: options.username ?? "guest",
      password: options.password ?? Redacted.make("guest"),
      heartbeat: options.heartbeat ?? 10,
      connectionName: "contract"
    }, {
      onBlocked: (reason) => Queue.offerUnsafe(blocked, `blocked: ${reason}`),
      onUnblocked: () => Queue.offerUnsafe(blocked, "unblocked"),
      onClose(error) {
        endings.push("connection closed")
        Deferred.doneUnsafe(closed, Effect.succeed(error))
      }
    }),
    // A test may have ended the connection itself: then there is nobody to answer.
    (connection) => Effect.raceFirst(connection.close, Deferred.await(closed)),
    { interruptible: true }
  )
  return { ...connection, blocked, closed, endings } satisfies Connection
})

export const open = Effect.fnUntraced(function*(connection: Connection, options: { readonly confirm?: boolean } = {}) {
  const returns: Array<DriverReturn> = []
  const outcomes: Array<string> = []
  const closed = yield* Deferred.make<AmqpError>()
  const settled = new Map<number, boolean>()
  const waiting = new Map<number, (ack: boolean) => void>()
  let lowest = 1
  const settle = (tag: number, ack: boolean) => {
    if (settled.has(tag)) return
    settled.set(tag, ack)
    outcomes.push(`${ack ? "ack" : "nack"} ${tag}`)
    waiting.get(tag)?.(ack)
  }
  const channel = yield* connection.openChannel({ confirm: options.confirm ?? true }, {
    onConfirm(tag, multiple, ack) {
      if (multiple) { for (; lowest <= tag; lowest++) settle(lowest, ack) }
      else settle(tag, ack)
    },
    onReturn(returned) {
      returns.push(returned)
      outcomes.push(`return ${returned.messageId}`)
    },
    onDrain() {},
    onClose(error) {
      connection.endings.push("channel closed")
      Deferred.doneUnsafe(closed, Effect.succeed(error))
    }
  })
  const confirmed = (tag: number) =>
    Effect.callback<boolean>((resume) => {
      const known = settled.get(tag)
      if (known === undefined) waiting.set(tag, (ack) => resume(Effect.succeed(ack)))
      else resume(Effect.succeed(known))
    })
  return { ...channel, returns, outcomes, closed, confirmed } satisfies Channel
})

/** A channel with confirms on a connection of its own. */
export const session = Effect.flatMap(Effect.suspend(() => connect()), (connection) => open(connection))

export const exchange = (
  channel: DriverChannel,
  name: string,
  type: string,
  options: Partial<ExchangeDeclaration> = {}
) =>
  channel.declareExchange({
    exchange: name,
    type,
    durable: true,
    autoDelete: false,
    internal: false,
    arguments: {},
    ...options
  })

export const queue = (
  channel: DriverChannel,
  name: string,
  args: Arguments = {},
  options: Partial<QueueDeclaration> = {}
) =>
  channel.declareQueue({
    queue: name,
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: args,
    ...options
  })

export const bind = (channel: DriverChannel, name: string, from: string, routingKey = "", args: Arguments = {}) =>
  channel.bindQueue({ queue: name, exchange: from, routingKey, arguments: args })

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export interface Outgoing {
  readonly exchange?: string
  readonly routingKey?: string
  readonly body?: string
  readonly mandatory?: boolean
  readonly properties?: WireProperties
}

/** Write a message, and return its tag. */
export const write = (channel: DriverChannel, message: Outgoing): number =>
  channel.publishUnsafe({
    exchange: message.exchange ?? "",
    routingKey: message.routingKey ?? "",
    mandatory: message.mandatory ?? false,
    properties: message.properties ?? {},
    body: encoder.encode(message.body ?? "")
  })

/** Publish and wait for the confirm; true for an ack. */
export const publish = (channel: Channel, message: Outgoing): Effect.Effect<boolean> =>
  Effect.suspend(() => channel.confirmed(write(channel, message)))

/** Publish bodies to a queue through the default exchange, one after the other. */
export const fill = (channel: Channel, name: string, ...bodies: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.forEach(bodies, (body) => publish(channel, { routingKey: name, body }), { discard: true })

export const text = (delivery: DriverDelivery): string => decoder.decode(delivery.body)

/** Get one message that must be there. */
export const take = (channel: DriverChannel, name: string, noAck = false) =>
  Effect.map(channel.get(name, { noAck }), Option.getOrThrow)

/** Get and acknowledge everything that is in a queue. */
export const drain = Effect.fnUntraced(function*(channel: DriverChannel, name: string) {
  const deliveries: Array<DriverDelivery> = []
  for (;;) {
    const next = yield* channel.get(name, { noAck: true })
    if (Option.isNone(next)) return deliveries
    deliveries.push(next.value)
  }
})

/** The bodies of everything that is in a queue; the queue is empty afterwards. */
export const bodies = (channel: DriverChannel, name: string) =>
  Effect.map(drain(channel, name), (deliveries) => deliveries.map(text))

export interface Consuming {
  readonly tag: string
  readonly received: Array<DriverDelivery>
  /** The next delivery. */
  readonly next: Effect.Effect<DriverDelivery>
  readonly cancelled: Deferred.Deferred<void>
}

let consumers = 0

export const consume = Effect.fnUntraced(function*(
  channel: DriverChannel,
  name: string,
  options: {
    readonly noAck?: boolean
    readonly exclusive?: boolean
    readonly arguments?: Arguments
    readonly tag?: string
    readonly ack?: boolean
  } = {}
) {
  const tag = options.tag ?? `consumer-${consumers++}`
  const received: Array<DriverDelivery> = []
  const inbox = yield* Queue.unbounded<DriverDelivery>()
  const cancelled = yield* Deferred.make<void>()
  yield* channel.consume({
    queue: name,
    consumerTag: tag,
    noAck: options.noAck ?? false,
    exclusive: options.exclusive ?? false,
    arguments: options.arguments ?? {}
  }, {
    onDelivery(delivery) {
      received.push(delivery)
      if (options.ack === true) channel.ackUnsafe(delivery.deliveryTag, false)
      Queue.offerUnsafe(inbox, delivery)
    },
    onCancel: () => Deferred.doneUnsafe(cancelled, Effect.void)
  })
  return { tag, received, next: Queue.take(inbox), cancelled } satisfies Consuming
})

/** What a client can see of a failure: the reason, and RabbitMQ's text with the test's virtual host as `/`. */
export interface Seen {
  readonly reason: string
  readonly text: string
}

export const seen = Effect.fnUntraced(function*(error: AmqpError) {
  const { vhost } = yield* Broker
  const { reason } = error
  const replyText = "replyText" in reason && typeof reason.replyText === "string" ? reason.replyText : ""
  return { reason: reason._tag, text: replyText.replaceAll(`vhost '${vhost}'`, "vhost '/'") } satisfies Seen
})

/** How an operation fails. */
export const failure = <A, R>(operation: Effect.Effect<A, AmqpError, R>) => Effect.flatMap(Effect.flip(operation), seen)

/** How the channel was closed. */
export const closing = (channel: Channel) => Effect.flatMap(Deferred.await(channel.closed), seen)

/** How the connection was closed. */
export const ending = (connection: Connection) => Effect.flatMap(Deferred.await(connection.closed), seen)

export const elapse = (duration: Duration.Input) => Effect.flatMap(Broker, (broker) => broker.elapse(duration))

/** Lets time pass until something has happened. */
export const passingUntil = <A, E, R>(event: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Broker> =>
  Effect.raceFirst(event, Effect.forever(elapse("100 millis")))

export const settle = Effect.flatMap(Broker, (broker) => broker.settle)
