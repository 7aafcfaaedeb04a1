/**
 * An in-process broker that behaves like RabbitMQ, for tests and demonstrations. It has no server and no sockets, and
 * takes all of its time from the Clock: `TestClock.adjust` plays an outage of an hour in a millisecond.
 *
 * {@link layer} puts the broker under an application, in the place of the network. The {@link AmqpMemory} service looks
 * into the broker and breaks it on purpose. A client reaches it by any host and port, as `guest` with the password
 * `guest` and the virtual host `/`, and may do everything there.
 *
 * @example
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect, Fiber, Layer } from "effect"
 * import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
 * import { AmqpMemory } from "effect-amqp-memory"
 * import { TestClock } from "effect/testing"
 *
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 *
 * const App = AmqpPublisher.layer().pipe(
 *   Layer.provide(AmqpTopology.layer(AmqpTopology.make(invoices))),
 *   Layer.provide(AmqpConnection.layer())
 * )
 *
 * it.effect("an outage delays an invoice and loses none", () =>
 *   Effect.gen(function*() {
 *     const broker = yield* AmqpMemory.AmqpMemory
 *     const publisher = yield* AmqpPublisher.AmqpPublisher
 *     yield* broker.cutConnections
 *     yield* broker.refuseConnects(3)
 *     const publishing = yield* publisher.publish({ routingKey: "invoices", body: { id: 42 } }).pipe(
 *       Effect.forkChild({ startImmediately: true })
 *     )
 *     yield* TestClock.adjust("4 seconds")
 *     yield* Fiber.join(publishing)
 *     assert.strictEqual(yield* broker.depth("invoices"), 1)
 *   }).pipe(Effect.provide(App), Effect.provide(AmqpMemory.layer)))
 * ```
 *
 * @since 0.1.0
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

/**
 * Looks into the broker and breaks it, from outside the wire.
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpMemory extends Context.Service<AmqpMemory, Service>()("effect-amqp-memory/AmqpMemory") {}

/**
 * How a broker is made.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The RabbitMQ version that the broker behaves like; the README lists the differences. Defaults to `"4.0"`. */
  readonly version?: BrokerVersion | undefined
  /** Decides wherever the broker has a choice, such as the order of `reorderConfirms`. Defaults to 0. */
  readonly seed?: number | undefined
  /** Logs every frame as a readable line, at the level Info. Defaults to `false`. */
  readonly logFrames?: boolean | undefined
}

/**
 * Makes a broker and the driver that dials it. The broker goes down with the Scope.
 *
 * @category constructors
 * @since 0.1.0
 */
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
 * Provides {@link AmqpMemory}, a broker of its own, and replaces the driver with one that dials this broker.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<AmqpMemory> = Layer.effectContext(make())

/**
 * Provides what {@link layer} does, from a broker with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (options: Options): Layer.Layer<AmqpMemory> => Layer.effectContext(make(options))

/**
 * Provides what {@link layer} does, and logs every frame, for learning and debugging.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerLogged: Layer.Layer<AmqpMemory> = layerWith({ logFrames: true })
