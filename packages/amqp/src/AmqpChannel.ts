/**
 * A channel that lives on across sessions and across what closes a channel: declare, inspect, bind, purge and delete;
 * read messages one by one and acknowledge them.
 *
 * Reading and acknowledging share one channel, because a delivery tag means something only on the channel that handed
 * it out. Everything else that a broker may refuse runs on a channel of its own, so that a refusal, which closes the
 * channel, costs nobody else theirs.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { Delivery } from "./AmqpDelivery.ts"
import type { Arguments, DriverChannel, QueueInfo } from "./AmqpDriver.ts"
import { AmqpError, InvalidMessage } from "./AmqpError.ts"
import { allOrNothing } from "./internal/allOrNothing.ts"
import { keep } from "./internal/connection/keptChannel.ts"
import { AmqpConnection } from "./internal/connection/service.ts"
import type { Session } from "./internal/connection/session.ts"
import { Acknowledgements } from "./internal/delivery/acknowledgements.ts"
import type { Named } from "./internal/named.ts"
import { nameOf } from "./internal/named.ts"
import type { Asked } from "./internal/topology/queueRefusals.ts"
import { refusedFor, refusedOn } from "./internal/topology/queueRefusals.ts"
import { Refused, shortString, tableSize } from "./internal/wire/limits.ts"

const TypeId = "~effect-amqp/AmqpChannel"

/**
 * Describes an exchange to declare, as a value of `AmqpTopology.exchange` does.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExchangeToDeclare {
  readonly name: string
  readonly type: string
  /** Survives a restart of the broker. Defaults to `true`. */
  readonly durable?: boolean | undefined
  readonly autoDelete?: boolean | undefined
  readonly internal?: boolean | undefined
  readonly arguments?: Arguments | undefined
}

/**
 * Describes a queue to declare, as a value of `AmqpTopology.queue` does. An empty name lets the broker choose one.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueToDeclare {
  readonly name: string
  /** Survives a restart of the broker. Defaults to `true`. */
  readonly durable?: boolean | undefined
  readonly exclusive?: boolean | undefined
  readonly autoDelete?: boolean | undefined
  readonly arguments?: Arguments | undefined
}

/**
 * Describes how an exchange and what is bound to it are connected.
 *
 * @category options
 * @since 0.1.0
 */
export interface BindingOptions {
  readonly routingKey?: string | undefined
  readonly arguments?: Arguments | undefined
}

/**
 * Operations on exchanges, queues and single messages. Each waits for a connection if there is none, opens a channel and
 * asks its question, each of the three for at most the connection's `operationTimeout`, and closes the channel within
 * `closeTimeout`. `get` asks for a queue that its channel has not seen yet first, so it may take three times that.
 *
 * RabbitMQ ends the whole connection for what a type of queue does not have. So before a `purgeQueue`, a `deleteQueue`
 * with a condition, and the first `get` of a channel, the broker is asked for the type of a queue whose value does not
 * tell it and which no topology of the connection declares. It answers by a refusal, which it logs as a channel error:
 * `AmqpTopology.queue(name, { type: "classic" })` instead of the name spares that.
 *
 * All fail with `ConnectionLost`, `OperationTimeout` or `ReconnectAbandoned` when the broker cannot be reached, with
 * `AccessRefused` without the permission, and with `InvalidMessage` for a name or an argument that cannot be sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpChannel {
  readonly [TypeId]: typeof TypeId
  /** Declares an exchange unless it is there; fails with `TopologyMismatch` if it is there with other properties. */
  readonly declareExchange: (exchange: ExchangeToDeclare) => Effect.Effect<void, AmqpError>
  /** Succeeds if the exchange exists, fails with `NotFound` if not. */
  readonly checkExchange: (exchange: Named<"Exchange">) => Effect.Effect<void, AmqpError>
  /** Deletes an exchange; succeeds if there is none. With `ifUnused`, fails if something is bound to the exchange. */
  readonly deleteExchange: (
    exchange: Named<"Exchange">,
    options?: { readonly ifUnused?: boolean | undefined }
  ) => Effect.Effect<void, AmqpError>
  /** Lets messages flow from `source` to `destination`; fails with `NotFound` if either is missing. */
  readonly bindExchange: (
    destination: Named<"Exchange">,
    source: Named<"Exchange">,
    options?: BindingOptions
  ) => Effect.Effect<void, AmqpError>
  readonly unbindExchange: (
    destination: Named<"Exchange">,
    source: Named<"Exchange">,
    options?: BindingOptions
  ) => Effect.Effect<void, AmqpError>
  /** Declares a queue unless it is there; fails with `TopologyMismatch` if it is there with other properties. */
  readonly declareQueue: (queue: QueueToDeclare) => Effect.Effect<QueueInfo, AmqpError>
  /** Counts the ready messages and the consumers of a queue; fails with `NotFound` if it is missing. */
  readonly checkQueue: (queue: Named<"Queue">) => Effect.Effect<QueueInfo, AmqpError>
  /**
   * Deletes a queue and returns how many messages were deleted with it; 0 if there is no such queue. `ifUnused` and
   * `ifEmpty` are for classic queues, and are refused with `InvalidMessage` for another: RabbitMQ ends the connection of
   * who gives them for a quorum queue, and deletes a stream whatever they say. A queue by name needs the permission to
   * read for them.
   */
  readonly deleteQueue: (
    queue: Named<"Queue">,
    options?: { readonly ifUnused?: boolean | undefined; readonly ifEmpty?: boolean | undefined }
  ) => Effect.Effect<number, AmqpError>
  /**
   * Removes the ready messages of a queue and returns how many; fails with `NotFound` if the queue is missing, and with
   * `InvalidMessage` for a stream.
   */
  readonly purgeQueue: (queue: Named<"Queue">) => Effect.Effect<number, AmqpError>
  /** Routes messages of an exchange to a queue; fails with `NotFound` if either is missing. */
  readonly bindQueue: (
    queue: Named<"Queue">,
    exchange: Named<"Exchange">,
    options?: BindingOptions
  ) => Effect.Effect<void, AmqpError>
  readonly unbindQueue: (
    queue: Named<"Queue">,
    exchange: Named<"Exchange">,
    options?: BindingOptions
  ) => Effect.Effect<void, AmqpError>
  /**
   * Takes the next message of a queue, or none if the queue is empty; fails with `NotFound` if the queue is missing. The
   * message is to be acknowledged, unless `noAck` lets the broker forget it at once. Fails with `InvalidMessage` for a
   * stream: read it with `AmqpConsumer`.
   */
  readonly get: (
    queue: Named<"Queue">,
    options?: { readonly noAck?: boolean | undefined }
  ) => Effect.Effect<Option.Option<Delivery>, AmqpError>
  /** Does the same as `delivery.ack`. */
  readonly ack: (
    delivery: Delivery,
    options?: { readonly multiple?: boolean | undefined }
  ) => Effect.Effect<boolean>
  /** Does the same as `delivery.nack`. */
  readonly nack: (
    delivery: Delivery,
    options?: { readonly requeue?: boolean | undefined; readonly multiple?: boolean | undefined }
  ) => Effect.Effect<boolean>
  /** Does the same as `delivery.reject`. */
  readonly reject: (
    delivery: Delivery,
    options?: { readonly requeue?: boolean | undefined }
  ) => Effect.Effect<boolean>
  /** Counts the acknowledgements that came after their channel was closed, and were dropped. */
  readonly staleAcks: Effect.Effect<number>
}

/**
 * The service of a channel that lives on.
 *
 * @category services
 * @since 0.1.0
 */
export const AmqpChannel: Context.Service<AmqpChannel, AmqpChannel> = Context.Service<AmqpChannel>(
  "effect-amqp/AmqpChannel"
)

/**
 * Configures how the channel is opened.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Limits the messages that are out to each consumer of the channel and not acknowledged, 1 to 65535. `get` is not
   * limited by it. Defaults to no limit.
   */
  readonly prefetch?: number | undefined
}

const refuse = (operation: string, refused: Refused): AmqpError =>
  new AmqpError({ operation, reason: new InvalidMessage(refused) })

const isMissing = ({ reason }: AmqpError): boolean => reason._tag === "NotFound" && !reason.nodeDown

interface Opened {
  readonly channel: DriverChannel
  readonly deliveries: Acknowledgements
  readonly session: Session
  /** Queues that were seen to exist, so that reading from them does not risk the channel. */
  readonly known: Set<string>
}

/**
 * Opens a channel that lives on until the scope ends. Fails if the connection is finished, or if the channel cannot be
 * opened on three sessions running.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<AmqpChannel, AmqpError, AmqpConnection | Scope.Scope> => allOrNothing(open(options))

const open = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<AmqpChannel, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const prefetch = options.prefetch
  if (prefetch !== undefined && !(Number.isInteger(prefetch) && prefetch >= 1 && prefetch <= 65535)) {
    return yield* refuse("prefetch", new Refused("prefetch", `${prefetch} is not a whole number from 1 to 65535`))
  }
  const available = Latch.makeUnsafe(false)
  let opened: Opened | undefined
  let failed: AmqpError | undefined
  let stale = 0

  yield* keep(connection, {
    role: "consume",
    confirm: false,
    events: () => ({
      onConfirm() {},
      onReturn() {},
      onDrain() {},
      onClose() {
        opened = undefined
        available.closeUnsafe()
      }
    }),
    onOpen: Effect.fnUntraced(function*(channel, session) {
      if (prefetch !== undefined) yield* session.bounded("prefetch", channel.prefetch(prefetch))
      // It may have been closed while the answer was on its way here.
      if (!channel.isOpen()) return
      opened = {
        channel,
        session,
        known: new Set(),
        deliveries: new Acknowledgements(channel, session, () => stale++)
      }
      available.openUnsafe()
    }),
    onFailed(error) {
      failed = error
      available.openUnsafe()
    }
  })

  const checked = (names: ReadonlyArray<readonly [string, string]>, table?: Arguments): Refused | undefined => {
    for (const [field, name] of names) {
      const refused = shortString(field, name)
      if (refused !== undefined) return refused
    }
    const size = table === undefined ? 0 : tableSize(table, "arguments")
    return size instanceof Refused ? size : undefined
  }

  /** One operation on a channel of its own. */
  const alone = <A>(
    operation: string,
    refused: Refused | undefined,
    use: (channel: DriverChannel) => Effect.Effect<A, AmqpError>
  ): Effect.Effect<A, AmqpError> =>
    refused === undefined
      ? connection.withSession("consume", operation, (session) => session.withChannel(operation, use))
      : Effect.fail(refuse(operation, refused))

  const binding = (
    operation: string,
    destination: Named<"Exchange" | "Queue">,
    source: Named<"Exchange">,
    options: BindingOptions | undefined,
    use: (
      channel: DriverChannel,
      to: { readonly routingKey: string; readonly arguments: Arguments },
      destination: string,
      source: string
    ) => Effect.Effect<void, AmqpError>
  ) => {
    const to = { routingKey: options?.routingKey ?? "", arguments: options?.arguments ?? {} }
    const names = [nameOf(destination), nameOf(source)] as const
    return alone(
      `${operation} ${names[0]}`,
      checked([["destination", names[0]], ["source", names[1]], ["routingKey", to.routingKey]], to.arguments),
      (channel) => use(channel, to, ...names)
    )
  }

  const checkQueue = (queue: Named<"Queue">) =>
    alone(
      `checkQueue ${nameOf(queue)}`,
      checked([["queue", nameOf(queue)]]),
      (channel) => channel.checkQueue(nameOf(queue))
    )

  /** Lets pass only what the type of the queue has. */
  const assertHas = (operation: string, queue: Named<"Queue">, asked: Asked): Effect.Effect<void, AmqpError> => {
    const refused = checked([["queue", nameOf(queue)]]) ?? refusedFor(queue, asked)
    return refused !== undefined ? Effect.fail(refuse(operation, refused)) : Effect.flatMap(
      connection.withSession("consume", operation, (session) => refusedOn(session, operation, queue, asked)),
      (refused) => refused === undefined ? Effect.void : Effect.fail(refuse(operation, refused))
    )
  }

  // The channel may be gone again between the opening of the latch and the turn of who waits for it.
  const ready: Effect.Effect<Opened, AmqpError> = Effect.suspend(() => {
    if (failed !== undefined) return Effect.fail(failed)
    return opened === undefined ? Effect.andThen(available.await, ready) : Effect.succeed(opened)
  })

  const get: AmqpChannel["get"] = (queue, options) => {
    const name = nameOf(queue)
    const operation = `get ${name}`
    return Effect.gen(function*() {
      if (opened?.known.has(name) !== true) {
        yield* assertHas(operation, queue, "get")
        yield* checkQueue(queue)
      }
      const { channel, deliveries, known, session } = yield* connection.withSession(
        "consume",
        operation,
        (session) => session.waited(operation, ready)
      )
      known.add(name)
      const delivery = yield* session.bounded(operation, channel.get(name, { noAck: options?.noAck === true }))
      return Option.map(
        delivery,
        (delivery) =>
          new Delivery(delivery, session.epoch, options?.noAck === true ? undefined : deliveries, name, name)
      )
    })
  }

  return AmqpChannel.of({
    [TypeId]: TypeId,
    declareExchange: (exchange) =>
      alone(
        `declareExchange ${exchange.name}`,
        checked([["exchange", exchange.name], ["type", exchange.type]], exchange.arguments),
        (channel) =>
          channel.declareExchange({
            exchange: exchange.name,
            type: exchange.type,
            durable: exchange.durable ?? true,
            autoDelete: exchange.autoDelete ?? false,
            internal: exchange.internal ?? false,
            arguments: exchange.arguments ?? {}
          })
      ),
    checkExchange: (exchange) =>
      alone(
        `checkExchange ${nameOf(exchange)}`,
        checked([["exchange", nameOf(exchange)]]),
        (channel) => channel.checkExchange(nameOf(exchange))
      ),
    deleteExchange: (exchange, options) =>
      alone(
        `deleteExchange ${nameOf(exchange)}`,
        checked([["exchange", nameOf(exchange)]]),
        (channel) => channel.deleteExchange(nameOf(exchange), { ifUnused: options?.ifUnused === true })
      ),
    bindExchange: (destination, source, options) =>
      binding(
        "bindExchange",
        destination,
        source,
        options,
        (channel, to, destination, source) => channel.bindExchange({ destination, source, ...to })
      ),
    unbindExchange: (destination, source, options) =>
      binding(
        "unbindExchange",
        destination,
        source,
        options,
        (channel, to, destination, source) => channel.unbindExchange({ destination, source, ...to })
      ),
    declareQueue: (queue) =>
      alone(
        `declareQueue ${queue.name}`,
        checked([["queue", queue.name]], queue.arguments),
        (channel) =>
          channel.declareQueue({
            queue: queue.name,
            durable: queue.durable ?? true,
            exclusive: queue.exclusive ?? false,
            autoDelete: queue.autoDelete ?? false,
            arguments: queue.arguments ?? {}
          })
      ),
    checkQueue,
    deleteQueue: (queue, options) => {
      const operation = `deleteQueue ${nameOf(queue)}`
      const ifUnused = options?.ifUnused === true
      const ifEmpty = options?.ifEmpty === true
      const deleted = alone(
        operation,
        checked([["queue", nameOf(queue)]]),
        (channel) => channel.deleteQueue(nameOf(queue), { ifUnused, ifEmpty })
      )
      return ifUnused || ifEmpty
        ? assertHas(operation, queue, ifUnused ? "ifUnused" : "ifEmpty").pipe(
          Effect.andThen(deleted),
          Effect.catchIf(isMissing, () => Effect.succeed(0))
        )
        : deleted
    },
    purgeQueue: (queue) => {
      const operation = `purgeQueue ${nameOf(queue)}`
      return Effect.andThen(
        assertHas(operation, queue, "purgeQueue"),
        alone(operation, undefined, (channel) => channel.purgeQueue(nameOf(queue)))
      )
    },
    bindQueue: (queue, exchange, options) =>
      binding(
        "bindQueue",
        queue,
        exchange,
        options,
        (channel, to, queue, exchange) => channel.bindQueue({ queue, exchange, ...to })
      ),
    unbindQueue: (queue, exchange, options) =>
      binding(
        "unbindQueue",
        queue,
        exchange,
        options,
        (channel, to, queue, exchange) => channel.unbindQueue({ queue, exchange, ...to })
      ),
    get,
    ack: (delivery, options) => delivery.ack(options),
    nack: (delivery, options) => delivery.nack(options),
    reject: (delivery, options) => delivery.reject(options),
    staleAcks: Effect.sync(() => stale)
  })
})

/**
 * Makes a layer with a channel of its own, see {@link make}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<AmqpChannel, AmqpError, AmqpConnection> =>
  Layer.effect(AmqpChannel, make(options))

/**
 * Makes {@link layer} of options that are read from configuration. Fails with a `ConfigError` if one cannot be read.
 *
 * @example
 * ```ts
 * import { Config } from "effect"
 * import { AmqpChannel } from "effect-amqp"
 *
 * const Live = AmqpChannel.layerConfig({ prefetch: Config.Int("PREFETCH") })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<AmqpChannel, AmqpError | Config.ConfigError, AmqpConnection> =>
  Layer.effect(AmqpChannel, Effect.flatMap(Config.unwrap(options), make))
