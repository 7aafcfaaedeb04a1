/**
 * One RabbitMQ node of the rig, as a process or a container, and the ways to hurt it.
 */
import type * as Effect from "effect/Effect"
import type * as ErlangShell from "./ErlangShell.ts"
import type { RabbitMqError } from "./RabbitMqError.ts"

/**
 * A node that can be started and ended again and again, with its data. Every effect settles within a bound.
 */
export interface BrokerNode {
  readonly port: number
  /** The port for TLS, on nodes that were given certificates. */
  readonly tlsPort: number | undefined
  /** How to reach the node's Erlang. */
  readonly address: ErlangShell.Address
  /** Starts the node with the data that it has. Done when the node speaks AMQP. */
  readonly start: Effect.Effect<void, RabbitMqError>
  /** SIGTERM: the node closes its connections with 320 and stops. */
  readonly stop: Effect.Effect<void, RabbitMqError>
  /** SIGKILL: the node is gone from one instruction to the next. */
  readonly kill: Effect.Effect<void, RabbitMqError>
  /** SIGSTOP: the node keeps its sockets and does nothing. */
  readonly freeze: Effect.Effect<void, RabbitMqError>
  /** SIGCONT: the node goes on where it was frozen. */
  readonly thaw: Effect.Effect<void, RabbitMqError>
}
