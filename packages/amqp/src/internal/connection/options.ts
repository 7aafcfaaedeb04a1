/**
 * The options of a connection, resolved and checked before anything is dialled.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type { DriverTls, Mechanism } from "../../AmqpDriver.ts"
import { AmqpError } from "../../AmqpError.ts"
import { bound, invalid, unitless } from "../checkOptions.ts"
import type { Credentials, Source } from "./credentials.ts"
import { ask, expiryOf } from "./credentials.ts"
import type { Endpoint, EndpointInput } from "./endpoints.ts"
import * as Endpoints from "./endpoints.ts"
import type { RetrySchedules } from "./retryBudget.ts"
import * as TlsCheck from "./tlsCheck.ts"

/**
 * Says when to try again: a spaced interval with a maximum number of retries, or any `Schedule`. `interval` defaults to
 * one second; `max` may be `Infinity`.
 *
 * @category models
 * @since 0.1.0
 */
export type RetryOptions =
  | { readonly interval?: Duration.Input | undefined; readonly max?: number | undefined }
  | Schedule.Schedule<unknown, AmqpError>

/** What `AmqpConnection.Options` holds. */
export interface ConnectionOptions {
  readonly endpoints?: Source<EndpointInput | ReadonlyArray<EndpointInput>> | undefined
  readonly vhost?: string | undefined
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted<string> | undefined
  readonly credentials?: Source<Credentials> | undefined
  readonly heartbeat?: Duration.Input | undefined
  readonly connectTimeout?: Duration.Input | undefined
  readonly operationTimeout?: Duration.Input | undefined
  readonly closeTimeout?: Duration.Input | undefined
  readonly connectionName?: string | undefined
  readonly tls?: Source<DriverTls> | undefined
  readonly retry?: RetryOptions | undefined
  readonly startup?: RetryOptions | undefined
  readonly mechanism?: Mechanism | undefined
  readonly sessions?: "separate" | "shared" | undefined
}

/** Options that can work, with every default filled in. */
export interface ResolvedOptions {
  /** Asked at each attempt to connect. */
  readonly endpoints: Effect.Effect<ReadonlyArray<Endpoint>, AmqpError>
  readonly heartbeat: Duration.Duration
  readonly connectTimeout: Duration.Duration
  readonly operationTimeout: Duration.Duration
  readonly closeTimeout: Duration.Duration
  readonly connectionName: string
  readonly mechanism: Mechanism | undefined
  /** Asks for the credentials again, if they are given as an effect. */
  readonly credentials: Effect.Effect<Credentials, AmqpError> | undefined
  readonly schedules: RetrySchedules & { readonly startup: Schedule.Schedule<unknown, AmqpError> }
  readonly isShared: boolean
}

// A broker in a container that starts beside the program takes half a minute.
const startupMax = 45
const retryMax = 100

const isSchedule = (retry: RetryOptions): retry is Schedule.Schedule<unknown, AmqpError> => Schedule.isSchedule(retry)

const resolveRetry = Effect.fnUntraced(function*(
  option: "retry" | "startup",
  retry: RetryOptions | undefined,
  defaultMax: number
): Effect.fn.Return<Schedule.Schedule<unknown, AmqpError>, AmqpError> {
  if (retry !== undefined && isSchedule(retry)) return retry
  const max = retry?.max ?? defaultMax
  if (max !== Infinity && !(Number.isInteger(max) && max >= 0)) {
    return yield* invalid(`${option}.max`, `${max} is not a whole number of 0 or more, and not Infinity`)
  }
  const spaced = Schedule.spaced(yield* bound(`${option}.interval`, retry?.interval ?? "1 second"))
  return max === Infinity ? spaced : Schedule.upTo(spaced, { times: max })
})

const resolveHeartbeat = Effect.fnUntraced(function*(
  input: Duration.Input
): Effect.fn.Return<Duration.Duration, AmqpError> {
  const hint = unitless(input)
  if (hint !== undefined) return yield* invalid("heartbeat", hint)
  const heartbeat = Duration.fromInput(input)
  const seconds = Option.isSome(heartbeat) ? Duration.toSeconds(heartbeat.value) : NaN
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 65535) {
    return yield* invalid(
      "heartbeat",
      `it must be a whole number of seconds from 1 to 65535, such as "10 seconds", where a number counts milliseconds: ` +
        "without heartbeats a dead peer would not be noticed"
    )
  }
  return Duration.seconds(seconds)
})

interface Read {
  readonly endpoints: ReadonlyArray<Endpoint>
  /** In seconds, if a URL names one. */
  readonly heartbeat: number | undefined
}

/** Reads endpoints with the material that holds for all of them. */
const read = Effect.fnUntraced(function*(
  options: ConnectionOptions,
  given: EndpointInput | ReadonlyArray<EndpointInput>,
  credentials: Credentials | undefined,
  tls: DriverTls | undefined
): Effect.fn.Return<Read, AmqpError> {
  const inputs = Array.isArray(given) ? given as ReadonlyArray<EndpointInput> : [given as EndpointInput]
  if (inputs.length === 0) return yield* invalid("endpoints", "the list is empty; name at least one broker")
  if (credentials !== undefined && !Redacted.isRedacted(credentials.password)) {
    return yield* invalid("credentials.password", "it must not be printed: pass Redacted.make(password)")
  }
  const wrong = tls === undefined ? undefined : TlsCheck.problemOf(tls)
  if (wrong !== undefined) return yield* wrong
  const endpoints: Array<Endpoint> = []
  let heartbeat: number | undefined
  for (const input of inputs) {
    const parsed = Endpoints.parse(input, {
      tls,
      vhost: options.vhost,
      username: credentials?.username ?? options.username,
      password: credentials?.password ?? options.password
    })
    if (parsed instanceof AmqpError) return yield* parsed
    if (
      tls !== undefined && parsed.endpoint.tls === undefined &&
      (typeof input === "string" || Redacted.isRedacted(input))
    ) {
      return yield* invalid("tls", "a URL says amqp://, which speaks no TLS: write amqps://, or leave the option out")
    }
    endpoints.push(credentials === undefined ? parsed.endpoint : { ...parsed.endpoint, expires: expiryOf(credentials) })
    heartbeat ??= parsed.heartbeat
  }
  return { endpoints, heartbeat }
})

/** Resolve and check; fails with the first option that cannot work. */
export const resolve = Effect.fnUntraced(function*(
  options: ConnectionOptions
): Effect.fn.Return<ResolvedOptions, AmqpError> {
  const connectTimeout = yield* bound("connectTimeout", options.connectTimeout ?? "10 seconds")
  const given = options.endpoints ?? { host: "localhost" }
  const { credentials, tls } = options
  const isAsked = [given, credentials, tls].some(Effect.isEffect)
  const asked = Effect.gen(function*() {
    return yield* read(
      options,
      yield* ask("endpoints", given, connectTimeout),
      credentials === undefined ? undefined : yield* ask("credentials", credentials, connectTimeout),
      tls === undefined ? undefined : yield* ask("tls", tls, connectTimeout)
    )
  })
  const fixed = isAsked ? undefined : yield* asked
  return {
    endpoints: fixed === undefined ? Effect.map(asked, ({ endpoints }) => endpoints) : Effect.succeed(fixed.endpoints),
    heartbeat: yield* resolveHeartbeat(
      options.heartbeat ?? (fixed?.heartbeat === undefined ? "10 seconds" : Duration.seconds(fixed.heartbeat))
    ),
    connectTimeout,
    operationTimeout: yield* bound("operationTimeout", options.operationTimeout ?? "10 seconds"),
    closeTimeout: yield* bound("closeTimeout", options.closeTimeout ?? "5 seconds"),
    connectionName: options.connectionName ?? "effect-amqp",
    mechanism: options.mechanism,
    credentials: Effect.isEffect(credentials) ? ask("credentials", credentials, connectTimeout) : undefined,
    schedules: {
      retry: yield* resolveRetry("retry", options.retry, retryMax),
      startup: yield* resolveRetry("startup", options.startup, startupMax)
    },
    isShared: options.sessions === "shared"
  }
})
