/**
 * An in-process broker that behaves like RabbitMQ, for tests and demonstrations: no server, no sockets, and all of its
 * time is the Clock's, so that `TestClock.adjust` plays an outage of an hour in a millisecond.
 *
 * {@link layer} puts it under an application instead of the network; the {@link AmqpMemory} service beside it looks
 * into the broker and breaks it on purpose. A client that connects as `guest` with the password `guest` may do
 * everything in the virtual host `/`, whatever host and port it dials.
 *
 * @example
 * ```ts
 * const test = Effect.gen(function*() {
 *   const broker = yield* AmqpMemory.AmqpMemory
 *   yield* broker.cutConnections
 *   yield* broker.refuseConnects(3)
 *   yield* TestClock.adjust("4 seconds")
 *   assert.strictEqual(yield* broker.depth("invoices"), 1)
 * }).pipe(Effect.provide(App.layer), Effect.provide(AmqpMemory.layer))
 * ```
 */
import { CurrentDriver } from "effect-amqp/CurrentDriver"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import { everything } from "./internal/accounts.ts"
import { Broker } from "./internal/broker.ts"
import type { BrokerVersion } from "./internal/brokerVersion.ts"
import { dialects } from "./internal/brokerVersion.ts"
import { makeDriver } from "./internal/driver.ts"
import { count, inspectQueue } from "./internal/inspection.ts"
import { makeLevers } from "./internal/levers.ts"
import type { Link } from "./internal/link.ts"
import { Network } from "./internal/network.ts"
import type { Service } from "./internal/service.ts"
import { Timers } from "./internal/timers.ts"
import type { Trace } from "./internal/trace.ts"
import { noTrace, renderTrace } from "./internal/trace.ts"
import { seeded } from "./SeededRandom.ts"

export type { Permissions } from "./internal/accounts.ts"
export type { BrokerVersion } from "./internal/brokerVersion.ts"
export type { Endpoint, EndpointBehaviour } from "./internal/endpoints.ts"
export type { Counts, QueueState } from "./internal/inspection.ts"
export type { PublishRecord } from "./internal/publishLog.ts"
export type { Operation, Refusal } from "./internal/refusals.ts"
export type { Service } from "./internal/service.ts"

/** The broker seen from outside the wire. */
export class AmqpMemory extends Context.Service<AmqpMemory, Service>()("effect-amqp-memory/AmqpMemory") {}

/** What a broker is made like. */
export interface Options {
  /** The RabbitMQ version to behave like, `4.0` by default; the README lists what differs. */
  readonly version?: BrokerVersion | undefined
  /** What decides wherever the broker has a choice, such as the order of `reorderConfirms`; 0 by default. */
  readonly seed?: number | undefined
  /** Log every frame as a readable line, at the level Info; `false` by default. */
  readonly logFrames?: boolean | undefined
}

/** Make a broker and the driver that dials it; the broker goes down with the Scope. */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<Context.Context<AmqpMemory>, never, Scope.Scope> {
  const context = yield* Effect.context<never>()
  const dialect = dialects[options.version ?? "4.0"]
  const timers = new Timers(yield* Clock.Clock, context)
  const broker = new Broker(timers, seeded(options.seed ?? 0), dialect)
  broker.accounts.add("guest", Redacted.make("guest"))
  broker.accounts.permit("guest", "/", everything)
  const log = Effect.runForkWith(context)
  const trace: Trace = options.logFrames === true
    ? (...args) => void log(Effect.logInfo(renderTrace(...args)))
    : noTrace
  const network = new Network<Link>(broker, yield* Scheduler.Scheduler, trace)
  const levers = makeLevers(network)
  yield* Effect.addFinalizer(() => Effect.andThen(levers.shutDown, Effect.sync(() => timers.cancelAll())))

  const service = AmqpMemory.of({
    ...levers,
    depth: (name, vhost = "/") => Effect.sync(() => inspectQueue(network, name, vhost)?.ready ?? 0),
    queue: (name, vhost = "/") => Effect.sync(() => inspectQueue(network, name, vhost)),
    counts: Effect.sync(() => count(network)),
    leftovers: Effect.sync(() =>
      Object.entries(count(network)).flatMap(([name, value]) => value === 0 ? [] : [`${value} ${name}`])
    ),
    published: Effect.sync(() => broker.published),
    operations: Effect.sync(() => network.handled)
  })
  const serverProperties = {
    product: "RabbitMQ",
    version: dialect.version,
    platform: "memory",
    cluster_name: "memory"
  }
  return Context.make(AmqpMemory, service).pipe(Context.add(CurrentDriver, makeDriver(network, serverProperties)))
})

/**
 * A broker of its own for whatever it is provided to: it replaces the `AmqpDriver`, and provides {@link AmqpMemory}.
 */
export const layer: Layer.Layer<AmqpMemory> = Layer.effectContext(make())

/** {@link layer} with options. */
export const layerWith = (options: Options): Layer.Layer<AmqpMemory> => Layer.effectContext(make(options))

/** {@link layer}, and every frame is logged, for learning and debugging. */
export const layerLogged: Layer.Layer<AmqpMemory> = layerWith({ logFrames: true })
