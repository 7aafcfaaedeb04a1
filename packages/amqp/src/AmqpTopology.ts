/**
 * Exchanges, queues and bindings as one value, and the layer that declares it.
 *
 * Declaring is idempotent: what is there with the same properties is left alone, what is missing is made, and what is
 * there with other properties fails with `TopologyMismatch`, which says which property, what was wanted and what the
 * broker has. Nothing is ever deleted.
 *
 * A queue of a topology that is gone while its session lives, because somebody deleted it or because its last consumer
 * went, is declared again, with its bindings, when a consumer looks for it.
 *
 * @see https://www.rabbitmq.com/docs/exchanges
 * @see https://www.rabbitmq.com/docs/queues
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Arguments } from "./AmqpDriver.ts"
import { AmqpError, InvalidConfiguration } from "./AmqpError.ts"
import { allOrNothing } from "./internal/allOrNothing.ts"
import { nameOn } from "./internal/connection/queueName.ts"
import { AmqpConnection } from "./internal/connection/service.ts"
import type { Setup } from "./internal/connection/setups.ts"
import { nameOf } from "./internal/named.ts"
import { declareOn, rememberOn } from "./internal/topology/declare.ts"
import type { Binding, Exchange, Queue, ServerNamedQueue, Topology } from "./internal/topology/entities.ts"
import type {
  ClassicQueueOptions,
  ExchangeOptions,
  QueueOptions,
  QuorumQueueOptions,
  StreamOptions
} from "./internal/topology/options.ts"
import { problemOf } from "./internal/topology/problems.ts"
import { verifyOn } from "./internal/topology/verify.ts"
import { durationMillis } from "./internal/wire/limits.ts"

export type {
  Binding,
  Exchange,
  ExchangeType,
  Queue,
  ServerNamedQueue,
  Topology
} from "./internal/topology/entities.ts"

export type {
  AnyQueueOptions,
  ClassicQueueOptions,
  ExchangeOptions,
  MessageQueueOptions,
  QueueOptions,
  QuorumQueueOptions,
  StreamOptions
} from "./internal/topology/options.ts"

/** The entries of some tables that have a value; those of later tables win. */
const defined = (...tables: ReadonlyArray<Arguments | undefined>): Arguments =>
  Object.fromEntries(
    tables.flatMap((table) => Object.entries(table ?? {})).filter(([, value]) => value !== undefined)
  )

// An input that is no duration becomes NaN, which declaring refuses with the name of the argument.
const millis = (input: Duration.Input | undefined): number | undefined =>
  input === undefined ? undefined : durationMillis(input)

/**
 * Makes an exchange: durable and of type `direct` unless told otherwise.
 *
 * @example
 * ```ts
 * import { AmqpTopology } from "effect-amqp"
 *
 * const orders = AmqpTopology.exchange("orders", { type: "topic" })
 * ```
 * @category constructors
 * @since 0.1.0
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
 * Makes a queue: durable unless told otherwise. What a type of queue does not have does not compile.
 *
 * @example
 * ```ts
 * import { AmqpTopology } from "effect-amqp"
 *
 * const parking = AmqpTopology.exchange("parking", { type: "fanout" })
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum", deadLetterExchange: parking })
 * ```
 * @category constructors
 * @since 0.1.0
 */
export const queue = (name: string, options: QueueOptions = {}): Queue => ({
  _tag: "Queue",
  name,
  durable: options.durable ?? true,
  exclusive: options.exclusive ?? false,
  autoDelete: options.autoDelete ?? false,
  arguments: argumentsOf(options)
})

/** The options that become arguments. */
type Arg<Options> = Omit<Options, "type" | "durable" | "exclusive" | "autoDelete">

const argumentsOf = (options: QueueOptions): Arguments => {
  // The types say which type of queue has what; the table is the same for all.
  const all: Partial<Arg<ClassicQueueOptions> & Arg<QuorumQueueOptions> & Arg<StreamOptions>> = options
  return defined(options.arguments, {
    "x-queue-type": options.type,
    "x-message-ttl": millis(all.messageTtl),
    "x-expires": millis(all.expires),
    "x-max-length": all.maxLength,
    "x-max-length-bytes": all.maxLengthBytes,
    "x-overflow": all.overflow,
    "x-dead-letter-exchange": all.deadLetterExchange === undefined ? undefined : nameOf(all.deadLetterExchange),
    "x-dead-letter-routing-key": all.deadLetterRoutingKey,
    "x-max-priority": all.maxPriority,
    "x-single-active-consumer": all.singleActiveConsumer,
    "x-delivery-limit": all.deliveryLimit,
    "x-max-age": all.maxAge === undefined ? undefined : `${Math.ceil(durationMillis(all.maxAge) / 1000)}s`,
    "x-stream-max-segment-size-bytes": all.maxSegmentBytes
  })
}

/**
 * Makes a queue that the broker names, for messages that only this process wants, such as its copy of a fanout
 * exchange's messages. Bind it and consume from it like any other; messages in it are lost with the session.
 *
 * @see https://www.rabbitmq.com/docs/queues#server-named-queues
 * @example
 * ```ts
 * import { AmqpTopology } from "effect-amqp"
 *
 * const events = AmqpTopology.exchange("events", { type: "fanout" })
 * const news = AmqpTopology.serverNamedQueue("news")
 * const topology = AmqpTopology.make(events, news, AmqpTopology.bind(news, events))
 * ```
 * @category constructors
 * @since 0.1.0
 */
export const serverNamedQueue = (
  label: string,
  options: Pick<
    ClassicQueueOptions,
    "messageTtl" | "maxLength" | "maxLengthBytes" | "overflow" | "deadLetterExchange" | "arguments"
  > = {}
): ServerNamedQueue => ({
  _tag: "ServerNamedQueue",
  label,
  arguments: queue("", options).arguments
})

/**
 * Makes a binding of a queue, or of an exchange, to an exchange. The routing key is a pattern on a topic exchange, and
 * is not read by fanout and headers exchanges; the latter match `arguments`.
 *
 * @example
 * ```ts
 * import { AmqpTopology } from "effect-amqp"
 *
 * const orders = AmqpTopology.exchange("orders", { type: "topic" })
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 * const paid = AmqpTopology.bind(invoices, orders, "order.*.paid")
 * ```
 * @category constructors
 * @since 0.1.0
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
 * Makes a binding that is to be absent: it is removed where the broker has it, on every session. That is how a binding
 * that an earlier release made goes.
 *
 * @example
 * ```ts
 * import { AmqpTopology } from "effect-amqp"
 *
 * const orders = AmqpTopology.exchange("orders", { type: "topic" })
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 * const topology = AmqpTopology.make(
 *   orders,
 *   invoices,
 *   AmqpTopology.bind(invoices, orders, "order.*.paid"),
 *   AmqpTopology.unbind(invoices, orders, "order.#") // as it was until the last release
 * )
 * ```
 * @category constructors
 * @since 0.2.0
 */
export const unbind = (
  destination: Queue | ServerNamedQueue | Exchange,
  source: Exchange,
  routingKey: string = "",
  options: { readonly arguments?: Arguments | undefined } = {}
): Binding => ({ ...bind(destination, source, routingKey, options), _tag: "AbsentBinding" })

/**
 * Makes one value of exchanges, queues, bindings and other topologies.
 *
 * @example
 * ```ts
 * import { AmqpTopology } from "effect-amqp"
 *
 * const orders = AmqpTopology.exchange("orders", { type: "topic" })
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 * const topology = AmqpTopology.make(orders, invoices, AmqpTopology.bind(invoices, orders, "order.*.paid"))
 * ```
 * @category constructors
 * @since 0.1.0
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

/**
 * How to declare a topology; all of it optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface DeclareOptions {
  /**
   * Looks at the exchanges and queues instead of declaring them, and fails with `TopologyDiffers`, which names all that
   * differ. Looking needs no permission; properties are compared where the user may configure. AMQP cannot look at
   * bindings. Defaults to `false`.
   */
  readonly passive?: boolean | undefined
}

/**
 * Declares a topology now and on every session until the scope ends, before any publisher or consumer that is made
 * after it starts. A large topology takes a few round trips. Exclusive and server-named queues, which belong to one
 * connection, are declared on the session that consumes.
 *
 * Fails with `TopologyMismatch`, `AccessRefused`, `NotFound` (a binding to something that is not there),
 * `OperationRefused`, with `TopologyDiffers` if it is passive, or with `InvalidConfiguration` before anything is sent.
 *
 * @category declaring
 * @since 0.1.0
 */
export const declare = (
  topology: Topology,
  options: DeclareOptions = {}
): Effect.Effect<void, AmqpError, AmqpConnection | Scope.Scope> => allOrNothing(register(topology, options))

const register = Effect.fnUntraced(function*(
  topology: Topology,
  options: DeclareOptions
): Effect.fn.Return<void, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const problem = problemOf(topology) ?? (options.passive === true ? passiveProblemOf(topology) : undefined)
  if (problem !== undefined) {
    return yield* new AmqpError({
      operation: "declare",
      reason: new InvalidConfiguration({ option: "topology", detail: problem })
    })
  }
  if (options.passive === true) {
    return yield* connection.register(undefined, (session) => verifyOn(session, topology))
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
  const setup = (part: Topology): Setup => (session) =>
    Effect.andThen(
      declareOn(session, part),
      rememberOn(session, topology, [...part.queues, ...part.serverNamedQueues])
    )
  yield* connection.register(undefined, setup(shared))
  if (own.queues.length + own.serverNamedQueues.length > 0) {
    yield* connection.register("consume", setup(own))
  }
})

const passiveProblemOf = ({ queues, serverNamedQueues }: Topology): string | undefined => {
  const own = queues.find((queue) => queue.exclusive)?.name ?? serverNamedQueues[0]?.label
  return own === undefined ?
    undefined :
    `the queue "${own}" belongs to this connection alone, and a passive topology ` +
    "is made by others; declare it in a topology of its own"
}

/**
 * Reads the name that the broker chose for a server-named queue on the present session, for a `replyTo` for example.
 * Fails with `NotFound` if no topology of the connection declares it.
 * @category server-named queues
 * @since 0.1.0
 */
export const currentName = (queue: ServerNamedQueue): Effect.Effect<string, AmqpError, AmqpConnection> =>
  Effect.flatMap(
    AmqpConnection,
    (connection) => connection.withSession("consume", `currentName ${queue.label}`, (session) => nameOn(session, queue))
  )

/**
 * Follows the name that the broker chose for a server-named queue: a reference that is read without asking anybody
 * (`SubscriptionRef.getUnsafe`), and whose changes tell when a new session, or a queue that was gone, brought another
 * name. It holds `undefined` while there is no session. Fails as {@link currentName} does when no topology declares the
 * queue.
 *
 * @example
 * ```ts
 * import { Effect, SubscriptionRef } from "effect"
 * import { AmqpPublisher, AmqpTopology } from "effect-amqp"
 *
 * const replies = AmqpTopology.serverNamedQueue("replies")
 *
 * const program = Effect.gen(function*() {
 *   const publisher = yield* AmqpPublisher.AmqpPublisher
 *   const replyTo = yield* AmqpTopology.followName(replies)
 *   yield* publisher.publish({
 *     routingKey: "requests",
 *     replyTo: SubscriptionRef.getUnsafe(replyTo),
 *     body: "how many?"
 *   })
 * })
 * ```
 * @category server-named queues
 * @since 0.2.0
 */
export const followName = Effect.fnUntraced(function*(
  queue: ServerNamedQueue
): Effect.fn.Return<SubscriptionRef.SubscriptionRef<string | undefined>, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const ref = yield* SubscriptionRef.make<string | undefined>(undefined)
  yield* connection.register("consume", (session) =>
    Effect.gen(function*() {
      const name = yield* nameOn(session, queue)
      yield* Effect.acquireRelease(SubscriptionRef.set(ref, name), () => SubscriptionRef.set(ref, undefined))
      yield* session.queues.onName(queue.label, (name) => SubscriptionRef.set(ref, name))
    }))
  return ref
})

/**
 * Makes a layer that declares a topology, see {@link declare}. Provide it to publishers and consumers, so that it is
 * there before they start.
 *
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
 *
 * const topology = AmqpTopology.make(AmqpTopology.queue("invoices", { type: "quorum" }))
 *
 * const Publishing = AmqpPublisher.layer().pipe(
 *   Layer.provide(AmqpTopology.layer(topology)),
 *   Layer.provide(AmqpConnection.layerConfig())
 * )
 * ```
 * @category declaring
 * @since 0.1.0
 */
export const layer = (
  topology: Topology,
  options?: DeclareOptions
): Layer.Layer<never, AmqpError, AmqpConnection> => Layer.effectDiscard(declare(topology, options))
