/**
 * A connection to RabbitMQ that connects, notices loss and reconnects by itself.
 *
 * The service runs up to two sessions, one to publish and one to consume, because a broker with a resource alarm stops
 * reading the socket of a publisher, and acknowledgements on that socket would stop with it. The first session is
 * opened with the layer and serves whichever role asks first; the second is opened when the other role is asked for.
 *
 * @see https://www.rabbitmq.com/docs/connections
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { DriverTls, Mechanism } from "./AmqpDriver.ts"
import { AmqpError, ConnectionLost } from "./AmqpError.ts"
import { CurrentDriver } from "./CurrentDriver.ts"
import type { Credentials, Source } from "./internal/connection/credentials.ts"
import * as Dial from "./internal/connection/dial.ts"
import type { EndpointInput } from "./internal/connection/endpoints.ts"
import * as Endpoints from "./internal/connection/endpoints.ts"
import { Launching } from "./internal/connection/launching.ts"
import type { RetryOptions } from "./internal/connection/options.ts"
import * as ConnectionOptions from "./internal/connection/options.ts"
import type { RetrySchedules } from "./internal/connection/retryBudget.ts"
import { AmqpConnection, TypeId } from "./internal/connection/service.ts"
import type { Registration } from "./internal/connection/setups.ts"
import type { Closed, ConsumerHealth, Failed, GroupHealth, Health, Role, State } from "./internal/connection/state.ts"
import type { Supervisor } from "./internal/connection/supervisor.ts"
import * as SupervisorModule from "./internal/connection/supervisor.ts"

export type { Credentials, Source } from "./internal/connection/credentials.ts"
export type { EndpointInput } from "./internal/connection/endpoints.ts"
export type { RetryOptions } from "./internal/connection/options.ts"
export { AmqpConnection } from "./internal/connection/service.ts"
export type {
  Attached,
  Blocked,
  Closed,
  Connected,
  Connecting,
  ConsumerHealth,
  Detached,
  Failed,
  GroupHealth,
  Health,
  Idle,
  PartitionHealth,
  Paused,
  Reconnecting,
  Role,
  State
} from "./internal/connection/state.ts"

/**
 * Configures TLS. Certificates and keys are PEM text or bytes.
 *
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions extends DriverTls {}

/**
 * Configures how to connect. Every option has a default.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Names one broker or several of a cluster: values, or an effect that is asked at each attempt to connect. They are
   * dialled in shuffled order, the next one beside one that has not answered for a second; one that did not answer is
   * tried last for a minute. Defaults to `amqp://localhost:5672`.
   */
  readonly endpoints?: Source<EndpointInput | ReadonlyArray<EndpointInput>> | undefined
  /** Names the virtual host where a URL names none. Defaults to `/`. */
  readonly vhost?: string | undefined
  /** Names the user where a URL names none. Defaults to `guest`. */
  readonly username?: string | undefined
  /** Gives the password where a URL gives none. Defaults to `guest`. */
  readonly password?: Redacted.Redacted<string> | undefined
  /**
   * Gives the user and the password together, in place of `username` and `password`: a value, or an effect that is
   * asked at each attempt to connect, as a vault is. Credentials of an effect that expire are asked for again when a
   * fifth of their time is left, and handed to the broker by `connection.update-secret`.
   */
  readonly credentials?: Source<Credentials> | undefined
  /** The way to authenticate; `EXTERNAL` takes the user from the client's certificate. Defaults to `PLAIN`. */
  readonly mechanism?: Mechanism | undefined
  /**
   * Sets the heartbeat in whole seconds from 1 to 65535. A peer that is silent for two to three heartbeats counts as
   * lost. Defaults to `10 seconds`.
   */
  readonly heartbeat?: Duration.Input | undefined
  /** Bounds the dial of one endpoint, handshake included, and each effect asked for it. Defaults to `10 seconds`. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * Bounds the wait for a session, and each answer of the broker. An operation waits for both, and for the answer to
   * the opening of its channel: at most three times this, and then for its goodbye. Defaults to `10 seconds`.
   */
  readonly operationTimeout?: Duration.Input | undefined
  /**
   * Bounds the goodbyes of a connection and all its channels together; an answer within a second begins it anew. Defaults
   * to `5 seconds`.
   */
  readonly closeTimeout?: Duration.Input | undefined
  /** Is shown by the broker's management. Defaults to `effect-amqp`. */
  readonly connectionName?: string | undefined
  /**
   * Configures TLS for `amqps` URLs, and for hosts without a scheme; refused with an `amqp` URL. A value, or an effect
   * that is asked at each attempt to connect, so that rotated certificates are read again.
   */
  readonly tls?: Source<TlsOptions> | undefined
  /**
   * Sets how an outage is retried: the first attempt at once, the next ones by this schedule, one budget per outage. A
   * session that lasts less than one second, or than the first delay, does not end the outage before it, and neither
   * does one that ends during the same setup as the session before: the next attempt is one more of the same budget.
   * Defaults to every second, 100 times.
   */
  readonly retry?: RetryOptions | undefined
  /**
   * Sets how the first connect is retried. Refused credentials, a refused virtual host and TLS errors fail at once;
   * connection limits and a virtual host that is starting are retried. A session that is lost before it is announced is
   * an attempt that failed. The second session, which is connected later, is retried as after an outage. Defaults to
   * every second, 45 times.
   */
  readonly startup?: RetryOptions | undefined
  /**
   * `separate` runs one session for publishing and one for consuming, so that a resource alarm, during which the broker
   * reads nothing from publishers, holds up no acknowledgement. `shared` runs both on one connection, for those whose
   * broker allows only one: during an alarm, acknowledgements wait with what is published. Defaults to `separate`.
   */
  readonly sessions?: "separate" | "shared" | undefined
}

const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

/**
 * Connects, and stays connected until the scope ends. Fails with what the last attempt of the start-up budget failed
 * with, or with `InvalidConfiguration` before anything is dialled.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<AmqpConnection, AmqpError, Scope.Scope> {
  const resolved = yield* ConnectionOptions.resolve(options)
  const dialler = Dial.make({ driver: yield* CurrentDriver, ...resolved })
  let epoch = 0
  const makeSupervisor = (schedules: RetrySchedules) =>
    SupervisorModule.make({ ...resolved, dialler, schedules, nextEpoch: () => ++epoch })
  const first = yield* makeSupervisor(resolved.schedules)
  const second = yield* makeSupervisor({ ...resolved.schedules, startup: undefined })
  // Setups for every session wait in the second supervisor until it is started.
  const supervisors: readonly [Supervisor, Supervisor] = [first, second]

  const supervisorOf = (role: Role | undefined): Effect.Effect<Supervisor> =>
    Effect.suspend(() => {
      if (role === undefined || first.role() === role || resolved.isShared) return Effect.succeed(first)
      if (first.role() === undefined) return Effect.as(first.assign(role), first)
      return Effect.as(
        Effect.andThen(second.role() === undefined ? second.assign(role) : Effect.void, second.start),
        second
      )
    })

  const register: AmqpConnection["register"] = (role, setup, onFailed = () => {}) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const registration: Registration = { setup, outcome: Deferred.makeUnsafe<void, AmqpError>(), onFailed }
        const targets = role === undefined ? supervisors : [yield* supervisorOf(role)]
        yield* Effect.addFinalizer(() =>
          Effect.forEach(targets, (target) => target.remove(registration), { discard: true })
        )
        yield* Effect.forEach(targets, (target) => target.add(registration), { discard: true })
        yield* restore(Deferred.await(registration.outcome))
      })
    )

  const withSession: AmqpConnection["withSession"] = (role, operation, use) =>
    Effect.flatMap(supervisorOf(role), (supervisor) =>
      Effect.flatMap(
        Effect.timeoutOrElse(supervisor.session, {
          duration: resolved.operationTimeout,
          orElse: () =>
            Effect.fail(
              new AmqpError({
                operation,
                reason: new ConnectionLost({
                  replyCode: undefined,
                  replyText: `no connection came within ${Duration.toMillis(resolved.operationTimeout)} ms`
                })
              })
            )
        }),
        (session) => session.single(use(session))
      ))

  const launching = yield* Launching
  /** Tells `launch` of an end, unless the program itself closed the connection. */
  const reported = (end: Effect.Effect<void, AmqpError>) =>
    launching === undefined ? Effect.void : end.pipe(
      Effect.catch((error) =>
        Effect.sync(() => {
          if (error.reason._tag !== "ConnectionClosed") launching.fail(error)
        })
      ),
      Effect.forkScoped({ startImmediately: true }),
      Effect.asVoid
    )

  const consumers = new Set<() => ConsumerHealth>()
  const watchConsumer: AmqpConnection["watchConsumer"] = (health, ended) =>
    Effect.andThen(
      Effect.acquireRelease(
        Effect.sync(() => void consumers.add(health)),
        () => Effect.sync(() => consumers.delete(health))
      ),
      ended === undefined ? Effect.void : reported(ended)
    )

  const groups = new Set<() => GroupHealth>()
  const watchGroup: AmqpConnection["watchGroup"] = (health) =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => void groups.add(health)),
        () => Effect.sync(() => groups.delete(health))
      )
    )

  const states = Effect.sync((): Health["sessions"] => [
    SubscriptionRef.getUnsafe(first.state),
    SubscriptionRef.getUnsafe(second.state)
  ])

  const isOver = (state: State): state is Failed | Closed => state._tag === "Failed" || state._tag === "Closed"
  const changes = Stream.merge(
    SubscriptionRef.changes(first.state),
    Stream.filter(SubscriptionRef.changes(second.state), (state) => state._tag !== "Idle")
  )

  const finished = changes.pipe(
    Stream.filter(isOver),
    Stream.runHead,
    Effect.flatMap((state) =>
      Option.isSome(state) && state.value._tag === "Failed" ? Effect.fail(state.value.cause) : Effect.void
    )
  )

  yield* first.start
  yield* first.session
  yield* reported(finished)

  return AmqpConnection.of({
    [TypeId]: TypeId,
    health: Effect.map(states, (sessions) => ({
      sessions,
      consumers: Array.from(consumers, (health) => health()),
      groups: Array.from(groups, (health) => health())
    })),
    state: Effect.map(states, ([state]) => state),
    changes,
    finished,
    register,
    withSession,
    watchConsumer,
    watchGroup
  })
})

/**
 * Makes a layer that connects when it is built, and closes the connection in order when it is released. Building fails
 * as {@link make} does.
 *
 * @example
 * ```ts
 * import { Redacted } from "effect"
 * import { AmqpConnection } from "effect-amqp"
 *
 * const Amqp = AmqpConnection.layer({
 *   endpoints: ["amqp://rabbit-1", "amqp://rabbit-2"],
 *   username: "orders",
 *   password: Redacted.make("secret"),
 *   retry: { interval: "2 seconds", max: 500 }
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<AmqpConnection, AmqpError> =>
  Layer.effect(AmqpConnection, make(options))

const retryMax: Config.Config<number | undefined> = Config.flatMap(
  Config.option(Config.String("RETRY_MAX")),
  (text): Config.Config<number | undefined> =>
    Option.isNone(text)
      ? Config.succeed(undefined)
      : /^\s*infinity\s*$/i.test(text.value)
      ? Config.succeed(Infinity)
      : Config.Int("RETRY_MAX")
)

// As it is written: `make` says of a duration without a unit what would be right.
const duration = (name: string): Config.Config<Duration.Input | undefined> =>
  optional(Config.map(Config.String(name), (text) => text as Duration.Input))

// As it is written, likewise.
const port: Config.Config<number | undefined> = optional(
  Config.map(Config.String("PORT"), (text) => /^\s*\d+\s*$/.test(text) ? Number(text) : text as unknown as number)
)

const environment: { readonly [K in keyof Options]: Config.Config<Options[K]> } = {
  endpoints: Config.flatMap(Config.option(Config.Redacted("URL")), (url) =>
    Option.isSome(url)
      ? Config.succeed<Options["endpoints"]>(
        Endpoints.splitUrls(Redacted.value(url.value)).map((one) => Redacted.make(one))
      )
      : Config.map(
        Config.all({
          host: Config.withDefault(Config.NonEmptyString("HOST"), "localhost"),
          port,
          tls: Config.withDefault(Config.Boolean("TLS"), false)
        }),
        (parts): Options["endpoints"] => parts
      )),
  username: optional(Config.String("USERNAME")),
  password: optional(Config.Redacted("PASSWORD")),
  vhost: optional(Config.String("VHOST")),
  heartbeat: duration("HEARTBEAT"),
  retry: Config.all({ interval: duration("RETRY_INTERVAL"), max: retryMax })
}

const read = (fields: Partial<typeof environment>): Config.Config<Options> =>
  Config.nested(Config.all(fields as Record<string, Config.Config<unknown>>), "AMQP") as Config.Config<Options>

/**
 * Reads the options from the environment: `AMQP_URL` (several separated by commas), or `AMQP_HOST`, `AMQP_PORT` and
 * `AMQP_TLS` (`true` or `false`), which are not read when `AMQP_URL` is set; `AMQP_USERNAME`, `AMQP_PASSWORD` and
 * `AMQP_VHOST` for what the URL leaves out; `AMQP_HEARTBEAT` and `AMQP_RETRY_INTERVAL` as durations (`10 seconds`), and
 * `AMQP_RETRY_MAX` (a whole number, or `infinity`).
 *
 * @category config
 * @since 0.1.0
 */
export const config: Config.Config<Options> = read(environment)

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** Options of which some are values and some are read from configuration, as one `Config`. */
const unwrap = (wrapped: unknown): Config.Config<unknown> =>
  Config.isConfig(wrapped)
    ? wrapped
    : isRecord(wrapped)
    ? Config.all(
      Object.fromEntries(
        Object.entries(wrapped).filter(([, value]) => value !== undefined).map(([key, value]) => [key, unwrap(value)])
      )
    )
    : Config.succeed(wrapped)

/**
 * Makes {@link layer} of options that are read from configuration. Without an argument, all of them come from the
 * environment, see {@link config}; options that are given, as values or as `Config`, win over the environment's. A
 * `Config` of all the options is used alone. Fails with a `ConfigError` if something cannot be read.
 *
 * @example
 * ```ts
 * import { Config } from "effect"
 * import { AmqpConnection } from "effect-amqp"
 *
 * const FromEnvironment = AmqpConnection.layerConfig()
 * const Named = AmqpConnection.layerConfig({ connectionName: "invoice-worker" })
 * const Own = AmqpConnection.layerConfig({ endpoints: Config.Redacted("RABBIT_URL") })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options> | Options = {}
): Layer.Layer<AmqpConnection, AmqpError | Config.ConfigError> => {
  if (Config.isConfig(options)) {
    return Layer.effect(AmqpConnection, Effect.flatMap(options as Config.Config<Options>, make))
  }
  const given = new Set(Object.entries(options).filter(([, value]) => value !== undefined).map(([key]) => key))
  const missing = Object.fromEntries(Object.entries(environment).filter(([key]) => !given.has(key)))
  return Layer.effect(
    AmqpConnection,
    Effect.flatMap(
      Config.all([read(missing), unwrap(options) as Config.Config<Options>]),
      ([fromEnvironment, own]) => make({ ...fromEnvironment, ...own })
    )
  )
}

/**
 * Runs a program that is a layer until it can do nothing any more: as `Layer.launch`, but it fails when a connection of
 * the program was given up (`ReconnectAbandoned`) or when one of its consumers cannot come back, with the reason. Under
 * `NodeRuntime.runMain` the process then ends with the exit code 1, after everything was released in order.
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { AmqpConnection, AmqpConsumer } from "effect-amqp"
 *
 * AmqpConsumer.layer("invoices", (delivery) => Effect.flatMap(delivery.text, Effect.log)).pipe(
 *   Layer.provide(AmqpConnection.layerConfig()),
 *   AmqpConnection.launch,
 *   NodeRuntime.runMain
 * )
 * ```
 *
 * @category running
 * @since 0.2.0
 */
export const launch = <ROut, E, RIn>(self: Layer.Layer<ROut, E, RIn>): Effect.Effect<never, E | AmqpError, RIn> =>
  Effect.suspend(() => {
    const failed = Deferred.makeUnsafe<never, AmqpError>()
    return Effect.provideService(
      Effect.raceFirst(Layer.launch(self), Deferred.await(failed)),
      Launching,
      { fail: (error) => void Deferred.doneUnsafe(failed, Effect.fail(error)) }
    )
  })
