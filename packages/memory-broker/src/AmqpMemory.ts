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
import { AmqpDriver } from "effect-amqp/AmqpDriver"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import type { Permissions } from "./internal/accounts.ts"
import { everything } from "./internal/accounts.ts"
import type { PublishRecord } from "./internal/broker.ts"
import { Broker } from "./internal/broker.ts"
import type { BrokerVersion } from "./internal/brokerVersion.ts"
import { dialects } from "./internal/brokerVersion.ts"
import { makeDriver } from "./internal/driver.ts"
import type { Counts, QueueState } from "./internal/inspection.ts"
import { count, inspectQueue } from "./internal/inspection.ts"
import { makeLevers } from "./internal/levers.ts"
import { Network } from "./internal/network.ts"
import { Timers } from "./internal/timers.ts"
import type { Trace } from "./internal/trace.ts"
import { noTrace, renderTrace } from "./internal/trace.ts"
import { seeded } from "./SeededRandom.ts"

export type { Permissions } from "./internal/accounts.ts"
export type { PublishRecord } from "./internal/broker.ts"
export type { BrokerVersion } from "./internal/brokerVersion.ts"
export type { Counts, QueueState } from "./internal/inspection.ts"

/** The broker seen from outside the wire: every way to break it, and what is in it. */
export interface Service {
  /**
   * Refuse the next `count` attempts to connect, as if nothing listened.
   *
   * @example `yield* broker.refuseConnects(3)`
   */
  readonly refuseConnects: (count: number) => Effect.Effect<void>
  /**
   * Let every attempt to connect take this long; `0` ends it.
   *
   * @example `yield* broker.delayConnects("30 seconds")`
   */
  readonly delayConnects: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Cut the wire of every connection: what is under way is lost, and the clients see a reset.
   *
   * @example `yield* broker.cutConnections`
   */
  readonly cutConnections: Effect.Effect<void>
  /**
   * Cut the connections that have this name.
   *
   * @example `yield* broker.cutConnection("orders publish")`
   */
  readonly cutConnection: (connectionName: string) => Effect.Effect<void>
  /**
   * Cut the connection that sends the `frames`-th frame from now, after the broker has handled that frame and before
   * its answer is sent.
   *
   * @example `yield* broker.cutAfter(1) // the next publish is stored, and its confirm lost`
   */
  readonly cutAfter: (frames: number) => Effect.Effect<void>
  /**
   * Close every connection as an operator would, with 320 and `CONNECTION_FORCED - <text>`.
   *
   * @example `yield* broker.forceClose("maintenance")`
   */
  readonly forceClose: (text: string) => Effect.Effect<void>
  /**
   * Fall silent: handle `after` more frames (none by default), then neither read nor answer, like a process that was
   * stopped. Connecting, opening, declaring, publishing and acknowledging are one frame each.
   *
   * @example `yield* broker.stopAnswering({ after: 2 })`
   */
  readonly stopAnswering: (options?: { readonly after?: number | undefined }) => Effect.Effect<void>
  /**
   * Answer again, beginning with all that has piled up.
   *
   * @example `yield* broker.resumeAnswering`
   */
  readonly resumeAnswering: Effect.Effect<void>
  /**
   * Let every frame take this long in each direction; `0` ends it.
   *
   * @example `yield* broker.setLatency("50 millis")`
   */
  readonly setLatency: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Kill the broker: connections are cut, connects refused, and only durable queues and exchanges with their persistent
   * messages are there when it is started again.
   *
   * @example `yield* broker.crash`
   */
  readonly crash: Effect.Effect<void>
  /**
   * Shut the broker down in order: clients see 320; the rest is as with `crash`.
   *
   * @example `yield* broker.shutDown`
   */
  readonly shutDown: Effect.Effect<void>
  /**
   * Start a broker that crashed or was shut down.
   *
   * @example `yield* Effect.andThen(broker.crash, broker.start)`
   */
  readonly start: Effect.Effect<void>

  /**
   * Close every channel with this code and text.
   *
   * @example `yield* broker.closeChannels({ replyCode: 406, replyText: "PRECONDITION_FAILED - timed out" })`
   */
  readonly closeChannels: (
    reply: { readonly replyCode: number; readonly replyText: string }
  ) => Effect.Effect<void>
  /**
   * Cancel the consumers of a queue from the broker's side, as when the node that holds it goes down.
   *
   * @example `yield* broker.cancelConsumers("invoices")`
   */
  readonly cancelConsumers: (queue: string, vhost?: string) => Effect.Effect<void>

  /**
   * Keep every confirm back until `releaseConfirms`; messages are stored as usual.
   *
   * @example `yield* broker.withholdConfirms`
   */
  readonly withholdConfirms: Effect.Effect<void>
  /**
   * Send the confirms that were kept back, and confirm at once from now on.
   *
   * @example `yield* broker.releaseConfirms`
   */
  readonly releaseConfirms: Effect.Effect<void>
  /**
   * Send every confirm this much later, until `releaseConfirms`.
   *
   * @example `yield* broker.delayConfirms("6 seconds")`
   */
  readonly delayConfirms: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Keep confirms back until `size` of them are due, and then send them in as few frames as possible, with `multiple`;
   * until `releaseConfirms`.
   *
   * @example `yield* broker.batchConfirms(100)`
   */
  readonly batchConfirms: (size: number) => Effect.Effect<void>
  /**
   * Keep confirms back until `size` of them are due, and then send them one by one in an order that the seed decides;
   * until `releaseConfirms`.
   *
   * @example `yield* broker.reorderConfirms(10)`
   */
  readonly reorderConfirms: (size: number) => Effect.Effect<void>
  /**
   * Store the next `count` messages and never confirm them.
   *
   * @example `yield* broker.loseConfirms(1)`
   */
  readonly loseConfirms: (count: number) => Effect.Effect<void>
  /**
   * Nack the next `count` messages and do not store them.
   *
   * @example `yield* broker.nackConfirms(1)`
   */
  readonly nackConfirms: (count: number) => Effect.Effect<void>
  /**
   * Return the next `count` mandatory messages as if nobody were bound: 312, and then the ack.
   *
   * @example `yield* broker.returnPublishes(1)`
   */
  readonly returnPublishes: (count: number) => Effect.Effect<void>
  /**
   * Raise a resource alarm: a connection is blocked, and no longer read, when it next publishes.
   *
   * @example `yield* broker.block()`
   */
  readonly block: (reason?: string) => Effect.Effect<void>
  /**
   * End the alarm: the clients that were told are told again, and what they wrote meanwhile is read.
   *
   * @example `yield* broker.unblock`
   */
  readonly unblock: Effect.Effect<void>
  /**
   * End every fault: start, answer, confirm, unblock, without latency. Confirms that were lost stay lost.
   *
   * @example `yield* broker.heal`
   */
  readonly heal: Effect.Effect<void>

  /** Add a virtual host in which `guest` may do everything. */
  readonly addVhost: (name: string) => Effect.Effect<void>
  /**
   * Add a user, or change one. Without `permissions` the user can authenticate and use no virtual host.
   *
   * @example `yield* broker.setUser({ name: "reader", password, permissions: { configure: /^$/, write: /^$/, read: /.*\/ } })`
   */
  readonly setUser: (user: {
    readonly name: string
    readonly password: Redacted.Redacted<string>
    /** `/` by default. */
    readonly vhost?: string | undefined
    readonly permissions?: Permissions | undefined
  }) => Effect.Effect<void>

  /** How many messages of a queue are ready for delivery; 0 for a queue that does not exist. */
  readonly depth: (queue: string, vhost?: string) => Effect.Effect<number>
  /** What a queue holds, and who consumes it; undefined if it does not exist. */
  readonly queue: (name: string, vhost?: string) => Effect.Effect<QueueState | undefined>
  /** What clients have open. */
  readonly counts: Effect.Effect<Counts>
  /** What of {@link Counts} is not 0, as text: empty once everything that used the broker has closed. */
  readonly leftovers: Effect.Effect<ReadonlyArray<string>>
  /** The last 10,000 messages that were published, and the queues that each was routed to. */
  readonly published: Effect.Effect<ReadonlyArray<PublishRecord>>
  /** How many frames the broker has handled: the `k` up to which a test can loop with `stopAnswering`. */
  readonly operations: Effect.Effect<number>
}

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
  const network = new Network(broker, yield* Scheduler.Scheduler, trace)
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
  return Context.make(AmqpMemory, service).pipe(Context.add(AmqpDriver, makeDriver(network, serverProperties)))
})

/**
 * A broker of its own for whatever it is provided to: it replaces the `AmqpDriver`, and provides {@link AmqpMemory}.
 */
export const layer: Layer.Layer<AmqpMemory> = Layer.effectContext(make())

/** {@link layer} with options. */
export const layerWith = (options: Options): Layer.Layer<AmqpMemory> => Layer.effectContext(make(options))

/** {@link layer}, and every frame is logged, for learning and debugging. */
export const layerLogged: Layer.Layer<AmqpMemory> = layerWith({ logFrames: true })
