/**
 * Runs effect/rpc over RabbitMQ, streams included: the groups, clients and handlers stay as they are, and only their
 * layers change.
 *
 * A service is a queue of requests that any number of servers share. A call survives the death of its server, because
 * its request is acknowledged when the broker has its answer: what was not answered is delivered to another server, so
 * that handlers run at least once. {@link AtMostOnce} marks what must not be repeated.
 *
 * @example
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { AmqpConnection } from "effect-amqp"
 * import { AmqpRpc } from "effect-amqp-rpc"
 * import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
 *
 * class Calc extends RpcGroup.make(
 *   Rpc.make("Sum", { payload: { values: Schema.Array(Schema.Number) }, success: Schema.Number })
 * ) {}
 *
 * const CalcHandlers = Calc.toLayer({ Sum: ({ values }) => Effect.succeed(values.reduce((a, b) => a + b, 0)) })
 *
 * const calc = AmqpRpc.service("calc")
 *
 * const Server = RpcServer.layer(Calc).pipe(
 *   Layer.provide(CalcHandlers),
 *   Layer.provide(AmqpRpc.layerServer(calc, { concurrency: 64 })),
 *   Layer.provide(RpcSerialization.layerJson),
 *   Layer.provide(AmqpConnection.layerConfig())
 * )
 *
 * const sum = Effect.gen(function*() {
 *   const client = yield* RpcClient.make(Calc)
 *   return yield* client.Sum({ values: [1, 2, 3] })
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(
 *     AmqpRpc.layerClient(calc, { deadline: "30 seconds" }).pipe(
 *       Layer.provide([RpcSerialization.layerJson, AmqpConnection.layerConfig()])
 *     )
 *   )
 * )
 * ```
 *
 * @see https://www.rabbitmq.com/docs/confirms
 * @since 0.1.0
 */
import type { AmqpConnection } from "effect-amqp/AmqpConnection"
import type { AmqpError } from "effect-amqp/AmqpError"
import * as AmqpTopology from "effect-amqp/AmqpTopology"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcMiddleware from "effect/rpc/RpcMiddleware"
import type { RpcSerialization } from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as ClientSide from "./internal/client.ts"
import * as ServerSide from "./internal/server.ts"
import { bound, checked, invalid, positive } from "./internal/service.ts"

export { isNoServer, isOutcomeUnknown, isPoison } from "./CallError.ts"

/**
 * Names a service at the broker, for its clients and its servers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Service {
  readonly name: string
  readonly whenNoServer: "fail" | "wait"
  /** Where requests wait for a server. */
  readonly queue: AmqpTopology.Queue
  /** Reaches every server: an interrupt of a call goes there as long as its client does not know which server has it. */
  readonly control: AmqpTopology.Exchange
}

/**
 * Configures a service; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface ServiceOptions {
  /**
   * Says what becomes of a call when there is no server: `fail` fails it with `NoServer` at once, because the queue of
   * requests goes with its last server; `wait` keeps it in a durable queue until a server comes or its deadline does.
   * Defaults to `fail`.
   */
  readonly whenNoServer?: "fail" | "wait" | undefined
  /**
   * The queue of requests, where it needs options of its own; it has `autoDelete` if calls are to fail without a server.
   * Defaults to a durable classic queue with the name of the service.
   */
  readonly queue?: AmqpTopology.Queue | undefined
}

/**
 * Makes a service, by which its clients and servers find each other. Its control exchange is a durable fanout exchange
 * with the name of the service and `.control`, which stays.
 *
 * @example
 * ```ts
 * import { AmqpRpc } from "effect-amqp-rpc"
 *
 * const reports = AmqpRpc.service("reports", { whenNoServer: "wait" })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const service = (name: string, options: ServiceOptions = {}): Service => {
  const whenNoServer = options.whenNoServer ?? "fail"
  return {
    name,
    whenNoServer,
    queue: options.queue ?? AmqpTopology.queue(name, {
      type: "classic",
      ...(whenNoServer === "fail" ? { autoDelete: true, expires: "1 minute" } : {})
    }),
    control: AmqpTopology.exchange(`${name}.control`, { type: "fanout" })
  }
}

/**
 * Configures a client; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface ClientOptions {
  /**
   * Bounds a call until its answer, and a stream until its first part; a server does not begin with what is past it, by
   * its own clock. `"Infinity"` waits for as long as somebody may answer. Defaults to `30 seconds`.
   */
  readonly deadline?: Duration.Input | undefined
  /** How often a client asks if the servers that have its calls are there. Defaults to `2 seconds`. */
  readonly livenessInterval?: Duration.Input | undefined
}

/**
 * Provides `RpcClient.Protocol` by a service. Building it fails with what the broker refuses, and with
 * `InvalidConfiguration` for an option that cannot work.
 *
 * A call that cannot be answered fails with an `RpcClientError` that holds a `CallError.CallFailure`; see
 * {@link isNoServer} and {@link isOutcomeUnknown}. A call that is made without a connection waits for one within its
 * deadline; one that was sent fails when its connection is lost, and is not repeated.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = (
  service: Service,
  options: ClientOptions = {}
): Layer.Layer<RpcClient.Protocol, AmqpError, AmqpConnection | RpcSerialization> =>
  Layer.effect(RpcClient.Protocol)(Effect.gen(function*() {
    const resolved = {
      service: yield* checked(service),
      deadline: yield* positive("deadline", options.deadline ?? "30 seconds"),
      livenessInterval: yield* bound("livenessInterval", options.livenessInterval ?? "2 seconds")
    }
    return yield* RpcClient.Protocol.make((write, clientIds) => ClientSide.make(resolved, write, clientIds))
  }))

/**
 * Marks an Rpc whose handler must not run twice for one call: its request is acknowledged before the handler begins, and
 * what may have reached another server before is not handled but fails with `OutcomeUnknown`. {@link layerServer} provides
 * what it needs, and {@link layerAnyTransport} does for other transports.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { AmqpRpc } from "effect-amqp-rpc"
 * import { Rpc } from "effect/rpc"
 *
 * const Charge = Rpc.make("Charge", { payload: { card: Schema.String } }).middleware(AmqpRpc.AtMostOnce)
 * ```
 *
 * @category at most once
 * @since 0.1.0
 */
export class AtMostOnce extends RpcMiddleware.Service<AtMostOnce>()("effect-amqp-rpc/AtMostOnce") {}

/**
 * Provides {@link AtMostOnce} where a transport of effect/rpc itself carries the calls, such as `RpcTest` in a test: those
 * repeat no call.
 *
 * @category at most once
 * @since 0.1.0
 */
export const layerAnyTransport: Layer.Layer<AtMostOnce> = Layer.succeed(AtMostOnce)((effect) => effect)

/**
 * Configures a server; all of it optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface ServerOptions {
  /** Calls that may run at once, streams included, from 1 to 65535. Defaults to 64. */
  readonly concurrency?: number | undefined
  /**
   * How long the end of the server waits for its running calls, before it interrupts them and gives them back to the
   * queue. Defaults to `10 seconds`.
   */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * How many times a call may be taken, by this server or others, before it fails with `Poison`: each time but the first,
   * the server that had it died, lost its connection, or gave it back at its end. A whole number of 1 or more. Defaults to
   * 5.
   */
  readonly maxAttempts?: number | undefined
  /**
   * How often a server asks if the clients of its running calls are there; a handler whose client is gone is interrupted.
   * Defaults to `2 seconds`.
   */
  readonly livenessInterval?: Duration.Input | undefined
}

/**
 * Provides `RpcServer.Protocol` by a service, and {@link AtMostOnce}. Building it declares the queue of the service and
 * fails with what the broker refuses, and with `InvalidConfiguration` for an option that cannot work.
 *
 * When the server ends, it takes no more calls, waits for those that run, and gives back to the queue what it has not
 * answered by the `drainTimeout`; a call that was acknowledged before, such as a stream that has begun, fails with
 * `OutcomeUnknown`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerServer = (
  service: Service,
  options: ServerOptions = {}
): Layer.Layer<RpcServer.Protocol | AtMostOnce, AmqpError, AmqpConnection | RpcSerialization> =>
  Layer.effectContext(Effect.gen(function*() {
    const concurrency = options.concurrency ?? 64
    if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 65_535) {
      return yield* invalid("concurrency", `${concurrency} is not a whole number from 1 to 65535`)
    }
    const maxAttempts = options.maxAttempts ?? 5
    if (!Number.isInteger(maxAttempts) || maxAttempts < 1) {
      return yield* invalid("maxAttempts", `${maxAttempts} is not a whole number of 1 or more`)
    }
    const { protocol, takeForGood } = yield* ServerSide.make({
      service: yield* checked(service),
      concurrency,
      maxAttempts,
      drainTimeout: yield* bound("drainTimeout", options.drainTimeout ?? "10 seconds"),
      livenessInterval: yield* bound("livenessInterval", options.livenessInterval ?? "2 seconds")
    })
    return Context.make(RpcServer.Protocol, protocol).pipe(
      Context.add(
        AtMostOnce,
        (effect, { client, requestId }) =>
          Effect.flatMap(takeForGood(client.id, requestId), (isTaken) => isTaken ? effect : Effect.interrupt)
      )
    )
  }))
