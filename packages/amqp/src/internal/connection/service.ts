/**
 * The service `AmqpConnection`, apart from what makes one: a program that only declares a topology asks for the
 * service, and loads no driver.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { AmqpError } from "../../AmqpError.ts"
import type { Session } from "./session.ts"
import type { Setup } from "./setups.ts"
import type { ConsumerHealth, GroupHealth, Health, Role, State } from "./state.ts"

export const TypeId = "~effect-amqp/AmqpConnection"

/** What the library's own components recover by. It is no part of the published types, see {@link recoveryOf}. */
export interface Recovery {
  /**
   * Runs an effect on every session of a role, now and after each recovery, in registration order, before the session
   * is announced; without a role, on every session. What it acquires is released when the session ends, or the caller's
   * scope. Waits until it ran once, and fails if it cannot: a retryable failure is retried for three heartbeats in all,
   * on one session or several, and the third session running that ends during it fails it with `SetupAbandoned`. Once
   * it ran, it is retried for as long as its failures are retryable; another one ends the registration, as do three
   * sessions running that the broker closes during it for a cause, or ten that end without a word: `onFailed` is told.
   *
   * This is what channels, topologies, publishers and consumers recover by.
   */
  readonly register: (
    role: Role | undefined,
    setup: Setup,
    onFailed?: (error: AmqpError) => void
  ) => Effect.Effect<void, AmqpError, Scope.Scope>
  /**
   * Runs an operation on the live session of a role, after waiting for one for at most the operation deadline. What the
   * operation asks the broker has deadlines of its own.
   */
  readonly withSession: <A>(
    role: Role | undefined,
    operation: string,
    use: (session: Session) => Effect.Effect<A, AmqpError>
  ) => Effect.Effect<A, AmqpError>
  /**
   * Lets a consumer be seen in the health until the scope ends. `ended` fails when the consumer cannot come back, which
   * ends a program that was launched with `AmqpConnection.launch`.
   */
  readonly watchConsumer: (
    health: () => ConsumerHealth,
    ended?: Effect.Effect<never, AmqpError>
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Let a group of consumers be seen in the health until the scope ends. */
  readonly watchGroup: (health: () => GroupHealth) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * A connection that recovers by itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpConnection {
  readonly [TypeId]: typeof TypeId
  /** The states of the sessions and of the consumers now. */
  readonly health: Effect.Effect<Health>
  /** The state of the first session now: all there is to know unless the program both publishes and consumes. */
  readonly state: Effect.Effect<State>
  /** Emits every change of state of either session, beginning with the present states. */
  readonly changes: Stream.Stream<State>
  /**
   * Waits for the end of the connection: succeeds when the application closes it, fails with `ReconnectAbandoned` when
   * it was given up, and with `InvalidConfiguration` when a schedule or the driver threw. To end a whole program with
   * it, use `AmqpConnection.launch`.
   */
  readonly finished: Effect.Effect<void, AmqpError>
  /** @internal */
  readonly register: Recovery["register"]
  /** @internal */
  readonly withSession: Recovery["withSession"]
  /** @internal */
  readonly watchConsumer: Recovery["watchConsumer"]
  /** @internal */
  readonly watchGroup: Recovery["watchGroup"]
}

/**
 * The service of a connection that recovers by itself.
 *
 * @category services
 * @since 0.1.0
 */
export const AmqpConnection: Context.Service<AmqpConnection, AmqpConnection> = Context.Service<AmqpConnection>(
  "effect-amqp/AmqpConnection"
)

/** Gives the library's own side of a connection to those who see the published types only, as the tests do. */
export const recoveryOf = (connection: AmqpConnection): Recovery => connection
