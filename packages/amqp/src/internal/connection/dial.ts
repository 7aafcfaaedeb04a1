/**
 * One attempt to connect: every endpoint once, in shuffled order, the next one when one fails or does not answer for a
 * moment. The first that answers wins.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import type { AmqpDriver, DriverConnection, Mechanism } from "../../AmqpDriver.ts"
import { AmqpError, ConnectionClosed, ConnectTimeout } from "../../AmqpError.ts"
import * as Monotonic from "../monotonic.ts"
import type { WakeLater } from "../wakeLater.ts"
import type { Endpoint } from "./endpoints.ts"
import { Goodbyes } from "./goodbyes.ts"
import * as Lifeline from "./lifeline.ts"
import { refined } from "./refusals.ts"

/** An established connection, with the endpoint that it was made to. */
export interface Dialled {
  readonly endpoint: Endpoint
  readonly connection: DriverConnection
  readonly lifeline: Lifeline.Lifeline
  readonly goodbyes: Goodbyes
}

/** What dialling takes. */
export interface DialOptions {
  readonly driver: AmqpDriver
  /** Asked at each attempt. */
  readonly endpoints: Effect.Effect<ReadonlyArray<Endpoint>, AmqpError>
  readonly connectionName: string
  readonly mechanism: Mechanism | undefined
  readonly heartbeat: Duration.Duration
  readonly connectTimeout: Duration.Duration
  readonly closeTimeout: Duration.Duration
}

/** Attempts to connect, which remember who did not answer. */
export interface Dialler {
  /** One attempt; the connection is closed in order when the scope ends. */
  readonly dial: (wakeLater: WakeLater) => Effect.Effect<Dialled, AmqpError, Scope.Scope>
}

// How long an endpoint has the attempt for itself. A publish with the default deadline outlasts several of them.
const headStartMillis = 1000

// How long an endpoint that did not answer is tried after the others.
const distrustMillis = 60_000

const keyOf = ({ host, port }: Endpoint): string => `${host} ${port}`

/** The error of what the application closed itself. */
export const closedByUs = (): AmqpError => new AmqpError({ operation: "connection", reason: new ConnectionClosed() })

/** Makes the attempts of one connection service. */
export const make = (options: DialOptions): Dialler => {
  const silentUntil = new Map<string, number>()

  const distrust = (endpoint: Endpoint, now: number): void => {
    silentUntil.set(keyOf(endpoint), now + distrustMillis)
  }

  const dialOne = (
    endpoint: Endpoint,
    clock: Clock.Clock,
    wakeLater: WakeLater
  ): Effect.Effect<Dialled, AmqpError, Scope.Scope> =>
    Effect.gen(function*() {
      const lifeline = yield* Lifeline.make(wakeLater)
      const goodbyes = new Goodbyes(clock, options.closeTimeout)
      const connection = yield* Effect.acquireRelease(
        Effect.timeoutOrElse(
          options.driver.connect({
            host: endpoint.host,
            port: endpoint.port,
            tls: endpoint.tls,
            vhost: endpoint.vhost,
            username: endpoint.username,
            password: endpoint.password,
            heartbeat: Duration.toSeconds(options.heartbeat),
            connectionName: options.connectionName,
            mechanism: options.mechanism
          }, lifeline),
          {
            duration: options.connectTimeout,
            orElse: () =>
              Effect.fail(
                new AmqpError({
                  operation: "connect",
                  reason: new ConnectTimeout({
                    address: { host: endpoint.host, port: endpoint.port },
                    millis: Duration.toMillis(options.connectTimeout)
                  })
                })
              )
          }
        ),
        (connection) =>
          Effect.suspend(() =>
            lifeline.ended === undefined
              ? Effect.andThen(
                goodbyes.say(connection.close, () => {}),
                Effect.sync(() => connection.destroyUnsafe(closedByUs()))
              )
              : Effect.void
          ),
        { interruptible: true }
      )
      if (endpoint.tls?.insecureAcceptAnyCertificate === true) {
        yield* Effect.logWarning("AMQP connection accepts any certificate: it can be read and changed on its way", {
          host: endpoint.host,
          port: endpoint.port
        })
      }
      return { endpoint, connection, lifeline, goodbyes }
    })

  const inOrder = (now: number) =>
    Effect.gen(function*() {
      const endpoints = yield* Random.shuffle(yield* options.endpoints)
      const isSilent = (endpoint: Endpoint) => (silentUntil.get(keyOf(endpoint)) ?? 0) > now
      return [
        ...endpoints.filter((endpoint) => !isSilent(endpoint)),
        ...endpoints.filter(isSilent)
      ]
    })

  const dial: Dialler["dial"] = (wakeLater) =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const outer = yield* Effect.scope
      const endpoints = yield* inOrder(Monotonic.millis(clock))
      const results = yield* Queue.unbounded<{ endpoint: Endpoint; result: Exit.Exit<Dialled, AmqpError> }>()
      const begun = new Map<Endpoint, { readonly at: number; readonly scope: Scope.Closeable }>()
      // The losers of an attempt end with it, and leave no socket behind.
      return yield* Effect.scoped(Effect.gen(function*() {
        let failure: AmqpError | undefined
        let next = 0
        for (;;) {
          const endpoint = endpoints[next]
          if (endpoint !== undefined) {
            next++
            const own = yield* Scope.fork(outer)
            begun.set(endpoint, { at: Monotonic.millis(clock), scope: own })
            yield* Effect.forkScoped(
              Scope.provide(dialOne(endpoint, clock, wakeLater), own).pipe(
                Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(own, exit)),
                Effect.exit,
                Effect.flatMap((result) => Queue.offer(results, { endpoint, result }))
              ),
              { startImmediately: true }
            )
          } else if (begun.size === 0) return yield* failure!
          const taken = next < endpoints.length
            ? yield* Effect.timeoutOption(Queue.take(results), headStartMillis)
            : yield* Effect.asSome(Queue.take(results))
          if (taken._tag === "None") continue
          const { endpoint: answered, result } = taken.value
          begun.delete(answered)
          const now = Monotonic.millis(clock)
          if (Exit.isSuccess(result)) {
            silentUntil.delete(keyOf(answered))
            for (const [endpoint, { at, scope }] of begun) {
              if (now - at >= headStartMillis) distrust(endpoint, now)
              // It may have answered in the same moment.
              yield* Scope.close(scope, Exit.void)
            }
            return result.value
          }
          const error = Exit.findErrorOption(result)
          // Of what died nothing can be said but that it did.
          if (error._tag === "None") return yield* Effect.failCause(result.cause)
          if (error.value.reason._tag === "ConnectTimeout") distrust(answered, now)
          if (failure === undefined || !failure.isRetryable) failure = refined(error.value)
        }
      }))
    })

  return { dial }
}
