/**
 * Exchanges, queues and bindings as one value, and the layer that declares it.
 *
 * Declaring is idempotent: what is there with the same properties is left alone, what is missing is made, and what is
 * there with other properties fails with `TopologyMismatch`, which says which property, what was wanted and what the
 * broker has. Nothing is ever deleted.
 *
 * @see https://www.rabbitmq.com/docs/exchanges
 * @see https://www.rabbitmq.com/docs/queues
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Arguments } from "./AmqpDriver.ts"
import { noChannelEvents } from "./AmqpDriver.ts"
import { AmqpError, InvalidConfiguration } from "./AmqpError.ts"
import { allOrNothing } from "./internal/allOrNothing.ts"
import { nameOn } from "./internal/connection/queueName.ts"
import { AmqpConnection } from "./internal/connection/service.ts"
import type { Session } from "./internal/connection/session.ts"
import { durationMillis, Refused, shortString, tableSize } from "./internal/wire/limits.ts"

/** An exchange as it is to be declared. */
export interface Exchange {
  readonly _tag: "Exchange"
  readonly name: string
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: Arguments
}

/** A queue as it is to be declared. */
export interface Queue {
  readonly _tag: "Queue"
  readonly name: string
  readonly durable: boolean
  readonly exclusive: boolean
  readonly autoDelete: boolean
  readonly arguments: Arguments
}

/**
 * A queue whose name the broker chooses: exclusive to the connection that consumes, and gone with it. Each session
 * declares it anew; its bindings and its consumers follow its new name.
 */
export interface ServerNamedQueue {
  readonly _tag: "ServerNamedQueue"
  /** What this program calls it, unlike any other server-named queue of its connection. */
  readonly label: string
  readonly arguments: Arguments
}

/** A binding: messages that reach `source` with a fitting key go to `destination`. */
export interface Binding {
  readonly _tag: "Binding"
  readonly source: string
  /** A name; the label of a server-named queue. */
  readonly destination: string
  readonly destinationType: "queue" | "exchange" | "serverNamedQueue"
  readonly routingKey: string
  readonly arguments: Arguments
}

/** Exchanges, queues, server-named queues and bindings, declared in this order. */
export interface Topology {
  readonly exchanges: ReadonlyArray<Exchange>
  readonly queues: ReadonlyArray<Queue>
  readonly serverNamedQueues: ReadonlyArray<ServerNamedQueue>
  readonly bindings: ReadonlyArray<Binding>
}

/** Properties of an exchange. */
export interface ExchangeOptions {
  /** `direct` by default; plugins add other types. */
  readonly type?: "direct" | "fanout" | "topic" | "headers" | (string & {}) | undefined
  /** Whether it survives a restart of the broker; `true` by default. */
  readonly durable?: boolean | undefined
  /** Whether it is deleted when its last binding goes; `false` by default. */
  readonly autoDelete?: boolean | undefined
  /** Whether only exchanges may publish to it; `false` by default. */
  readonly internal?: boolean | undefined
  /** Where messages go that this exchange cannot route. */
  readonly alternateExchange?: string | { readonly name: string } | undefined
  /** Other arguments, such as `x-delayed-type`. */
  readonly arguments?: Arguments | undefined
}

/** Properties of a queue. */
export interface QueueOptions {
  /** The virtual host's default, usually `classic`, if absent. Use `quorum` for what must not be lost. */
  readonly type?: "classic" | "quorum" | "stream" | undefined
  /** Whether it survives a restart of the broker; `true` by default. */
  readonly durable?: boolean | undefined
  /** Whether only the connection that declared it may use it, and it goes with it; `false` by default. */
  readonly exclusive?: boolean | undefined
  /** Whether it is deleted when its last consumer goes; `false` by default. */
  readonly autoDelete?: boolean | undefined
  /** How long a message may wait in it. */
  readonly messageTtl?: Duration.Input | undefined
  /** How long it may be unused before it is deleted. */
  readonly expires?: Duration.Input | undefined
  readonly maxLength?: number | undefined
  readonly maxLengthBytes?: number | undefined
  /** What happens at the maximum; the broker's default is `drop-head`. */
  readonly overflow?: "drop-head" | "reject-publish" | "reject-publish-dlx" | undefined
  /** Where messages go that are rejected, expired, dropped, or delivered too often. */
  readonly deadLetterExchange?: string | { readonly name: string } | undefined
  readonly deadLetterRoutingKey?: string | undefined
  /** 1 to 255; makes a classic queue a priority queue. */
  readonly maxPriority?: number | undefined
  readonly singleActiveConsumer?: boolean | undefined
  /** Quorum queues: how often a message is delivered before it is dead-lettered. */
  readonly deliveryLimit?: number | undefined
  /** Other arguments. */
  readonly arguments?: Arguments | undefined
}

const nameOf = (named: string | { readonly name: string }): string => typeof named === "string" ? named : named.name

/** The entries of some tables that have a value; those of later tables win. */
const defined = (...tables: ReadonlyArray<Arguments | undefined>): Arguments =>
  Object.fromEntries(
    tables.flatMap((table) => Object.entries(table ?? {})).filter(([, value]) => value !== undefined)
  )

// An input that is no duration becomes NaN, which declaring refuses with the name of the argument.
const millis = (input: Duration.Input | undefined): number | undefined =>
  input === undefined ? undefined : durationMillis(input)

/**
 * An exchange: durable and of type `direct` unless told otherwise.
 *
 * @example
 * ```ts
 * const orders = AmqpTopology.exchange("orders", { type: "topic" })
 * ```
 */
export const exchange = (name: string, options: ExchangeOptions = {}): Exchange => ({
  _tag: "Exchange",
  name,
  type: options.type ?? "direct",
  durable: options.durable ?? true,
  autoDelete: options.autoDelete ?? false,
  internal: options.internal ?? false,
  arguments: defined(options.arguments, {
    "alternate-exchange": options.alternateExchange === undefined ? undefined : nameOf(options.alternateExchange)
  })
})

/**
 * A queue: durable unless told otherwise.
 *
 * @example
 * ```ts
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum", deadLetterExchange: parking })
 * ```
 */
export const queue = (name: string, options: QueueOptions = {}): Queue => ({
  _tag: "Queue",
  name,
  durable: options.durable ?? true,
  exclusive: options.exclusive ?? false,
  autoDelete: options.autoDelete ?? false,
  arguments: defined(options.arguments, {
    "x-queue-type": options.type,
    "x-message-ttl": millis(options.messageTtl),
    "x-expires": millis(options.expires),
    "x-max-length": options.maxLength,
    "x-max-length-bytes": options.maxLengthBytes,
    "x-overflow": options.overflow,
    "x-dead-letter-exchange": options.deadLetterExchange === undefined ? undefined : nameOf(options.deadLetterExchange),
    "x-dead-letter-routing-key": options.deadLetterRoutingKey,
    "x-max-priority": options.maxPriority,
    "x-single-active-consumer": options.singleActiveConsumer,
    "x-delivery-limit": options.deliveryLimit
  })
})

/**
 * A queue that the broker names, for what only this process wants, such as its copy of what a fanout exchange sends.
 * Bind it and consume from it like any other; messages in it are lost with the session.
 *
 * @see https://www.rabbitmq.com/docs/queues#server-named-queues
 * @example
 * ```ts
 * const news = AmqpTopology.serverNamedQueue("news")
 * const topology = AmqpTopology.make(events, news, AmqpTopology.bind(news, events))
 * ```
 */
export const serverNamedQueue = (
  label: string,
  options: Pick<
    QueueOptions,
    "messageTtl" | "maxLength" | "maxLengthBytes" | "overflow" | "deadLetterExchange" | "arguments"
  > = {}
): ServerNamedQueue => ({
  _tag: "ServerNamedQueue",
  label,
  arguments: queue("", options).arguments
})

/**
 * A binding of a queue, or of an exchange, to an exchange. The routing key is a pattern on a topic exchange, and is not
 * read by fanout and headers exchanges; the latter match `arguments`.
 *
 * @example
 * ```ts
 * const paid = AmqpTopology.bind(invoices, orders, "order.*.paid")
 * ```
 */
export const bind = (
  destination: Queue | ServerNamedQueue | Exchange,
  source: Exchange,
  routingKey: string = "",
  options: { readonly arguments?: Arguments | undefined } = {}
): Binding => ({
  _tag: "Binding",
  source: source.name,
  destination: destination._tag === "ServerNamedQueue" ? destination.label : destination.name,
  destinationType: destination._tag === "Queue"
    ? "queue"
    : destination._tag === "Exchange"
    ? "exchange"
    : "serverNamedQueue",
  routingKey,
  arguments: defined(options.arguments)
})

/**
 * One value of exchanges, queues, bindings and other topologies.
 *
 * @example
 * ```ts
 * const topology = AmqpTopology.make(orders, invoices, AmqpTopology.bind(invoices, orders, "order.*.paid"))
 * ```
 */
export const make = (
  ...parts: ReadonlyArray<Exchange | Queue | ServerNamedQueue | Binding | Topology>
): Topology => {
  const exchanges: Array<Exchange> = []
  const queues: Array<Queue> = []
  const serverNamedQueues: Array<ServerNamedQueue> = []
  const bindings: Array<Binding> = []
  for (const part of parts) {
    if (!("_tag" in part)) {
      exchanges.push(...part.exchanges)
      queues.push(...part.queues)
      serverNamedQueues.push(...part.serverNamedQueues)
      bindings.push(...part.bindings)
    } else if (part._tag === "Exchange") exchanges.push(part)
    else if (part._tag === "Queue") queues.push(part)
    else if (part._tag === "ServerNamedQueue") serverNamedQueues.push(part)
    else bindings.push(part)
  }
  return { exchanges, queues, serverNamedQueues, bindings }
}

const checkArguments = (what: string, table: Arguments): string | undefined => {
  const size = tableSize(table, "arguments", 0)
  return size instanceof Refused ? `${what}: ${size.field} ${size.detail}` : undefined
}

const checkEntity = (kind: string, entity: Exchange | Queue): string | undefined => {
  const refused = shortString("name", entity.name)
  if (refused !== undefined) {
    return `${kind} "${String(entity.name).slice(0, 40)}": its name is invalid: ${refused.detail}`
  }
  if (entity.name === "") return `one ${kind} has an empty name`
  return checkArguments(`${kind} "${entity.name}"`, entity.arguments)
}

/** What cannot be declared, and why; a broker would answer it by closing the channel or even the connection. */
const check = (topology: Topology): string | undefined => {
  const seen = new Map<string, string>()
  for (const [kind, entities] of [["exchange", topology.exchanges], ["queue", topology.queues]] as const) {
    for (const entity of entities) {
      const problem = checkEntity(kind, entity)
      if (problem !== undefined) return problem
      const key = `${kind} "${entity.name}"`
      const properties = JSON.stringify(entity)
      if ((seen.get(key) ?? properties) !== properties) return `${key} is in it twice, with different properties`
      seen.set(key, properties)
    }
  }
  const labels = new Map<string, ServerNamedQueue>()
  for (const queue of topology.serverNamedQueues) {
    const what = `server-named queue "${queue.label}"`
    if (queue.label === "") return "a server-named queue has an empty label"
    if ((labels.get(queue.label) ?? queue) !== queue) return `${what} is in it twice`
    labels.set(queue.label, queue)
    const problem = checkArguments(what, queue.arguments)
    if (problem !== undefined) return problem
  }
  for (const binding of topology.bindings) {
    if (binding.destinationType === "serverNamedQueue" && !labels.has(binding.destination)) {
      return `the server-named queue "${binding.destination}" is bound, and is not in it`
    }
    const refused = shortString("routingKey", binding.routingKey)
    const what = `binding of "${binding.destination}" to "${binding.source}"`
    if (refused !== undefined) return `${what}: its routing key is invalid: ${refused.detail}`
    const problem = checkArguments(what, binding.arguments)
    if (problem !== undefined) return problem
  }
  return undefined
}

const declareOn = (session: Session, topology: Topology): Effect.Effect<void, AmqpError> =>
  Effect.scoped(Effect.gen(function*() {
    const channel = yield* session.openChannel({ confirm: false }, noChannelEvents)
    for (const { _tag, name, ...properties } of topology.exchanges) {
      yield* session.bounded(
        `declareExchange ${name}`,
        channel.declareExchange({ exchange: name, ...properties })
      )
    }
    for (const { _tag, name, ...properties } of topology.queues) {
      yield* session.bounded(`declareQueue ${name}`, channel.declareQueue({ queue: name, ...properties }))
    }
    for (const { arguments: args, label } of topology.serverNamedQueues) {
      if (session.queueNames.has(label)) continue
      const declared = yield* session.bounded(
        `declareQueue ${label}`,
        channel.declareQueue({ queue: "", durable: false, exclusive: true, autoDelete: false, arguments: args })
      )
      session.queueNames.set(label, declared.queue)
    }
    for (const binding of topology.bindings) {
      const { destination, destinationType, source, ...rest } = binding
      yield* session.bounded(
        `bind ${destination} to ${source}`,
        destinationType === "exchange"
          ? channel.bindExchange({ destination, source, ...rest })
          : channel.bindQueue({ queue: session.queueNames.get(destination) ?? destination, exchange: source, ...rest })
      )
    }
  }))

/**
 * Declare a topology now and on every session until the scope ends, before any publisher or consumer that is made after
 * it starts. Exclusive and server-named queues, which belong to one connection, are declared on the session that
 * consumes.
 *
 * Fails with `TopologyMismatch`, `AccessRefused`, `NotFound` (a binding to something that is not there),
 * `OperationRefused`, or `InvalidConfiguration` before anything is sent.
 */
export const declare = (
  topology: Topology
): Effect.Effect<void, AmqpError, AmqpConnection | Scope.Scope> => allOrNothing(register(topology))

const register = Effect.fnUntraced(function*(
  topology: Topology
): Effect.fn.Return<void, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const problem = check(topology)
  if (problem !== undefined) {
    return yield* new AmqpError({
      operation: "declare",
      reason: new InvalidConfiguration({ option: "topology", detail: problem })
    })
  }
  const exclusive = new Set(topology.queues.filter((queue) => queue.exclusive).map((queue) => queue.name))
  const isExclusive = (binding: Binding) =>
    binding.destinationType === "serverNamedQueue" ||
    (binding.destinationType === "queue" && exclusive.has(binding.destination))
  const shared: Topology = {
    exchanges: topology.exchanges,
    queues: topology.queues.filter((queue) => !queue.exclusive),
    serverNamedQueues: [],
    bindings: topology.bindings.filter((binding) => !isExclusive(binding))
  }
  const own: Topology = {
    exchanges: [],
    queues: topology.queues.filter((queue) => queue.exclusive),
    serverNamedQueues: topology.serverNamedQueues,
    bindings: topology.bindings.filter(isExclusive)
  }
  yield* connection.register(undefined, (session) => declareOn(session, shared))
  if (own.queues.length + own.serverNamedQueues.length > 0) {
    yield* connection.register("consume", (session) => declareOn(session, own))
  }
})

/**
 * The name that the broker chose for a server-named queue on the present session, for a `replyTo` for example. Fails
 * with `NotFound` if no topology of the connection declares it.
 */
export const currentName = (queue: ServerNamedQueue): Effect.Effect<string, AmqpError, AmqpConnection> =>
  Effect.flatMap(
    AmqpConnection,
    (connection) => connection.withSession("consume", `currentName ${queue.label}`, (session) => nameOn(session, queue))
  )

/**
 * A layer that declares a topology, see {@link declare}. Provide it to publishers and consumers, so that it is there
 * before they start.
 *
 * @example
 * ```ts
 * const Publishing = AmqpPublisher.layer().pipe(
 *   Layer.provide(AmqpTopology.layer(topology)),
 *   Layer.provide(AmqpConnection.layerConfig())
 * )
 * ```
 */
export const layer = (topology: Topology): Layer.Layer<never, AmqpError, AmqpConnection> =>
  Layer.effectDiscard(declare(topology))
