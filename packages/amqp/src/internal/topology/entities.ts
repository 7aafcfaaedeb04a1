/**
 * Exchanges, queues and bindings as they are declared.
 */
import type { Arguments } from "../../AmqpDriver.ts"

/**
 * The type of an exchange: one of the protocol's, or one of a plugin, whose name begins with `x-`, such as
 * `x-delayed-message`.
 *
 * @category models
 * @since 0.2.0
 */
export type ExchangeType = "direct" | "fanout" | "topic" | "headers" | `x-${string}`

/**
 * An exchange as it is declared.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exchange {
  readonly _tag: "Exchange"
  readonly name: string
  readonly type: ExchangeType
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: Arguments
}

/**
 * A queue as it is declared.
 *
 * @category models
 * @since 0.1.0
 */
export interface Queue {
  readonly _tag: "Queue"
  readonly name: string
  readonly durable: boolean
  readonly exclusive: boolean
  readonly autoDelete: boolean
  readonly arguments: Arguments
}

/**
 * A queue whose name the broker chooses: exclusive to the connection that consumes, and gone with it. Each session
 * declares it anew; its bindings and its consumers follow its new name.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerNamedQueue {
  readonly _tag: "ServerNamedQueue"
  /** What this program calls it, unlike any other server-named queue of its connection. */
  readonly label: string
  readonly arguments: Arguments
}

/**
 * A binding: messages that reach `source` with a fitting key go to `destination`. An absent binding is removed where the
 * broker has it, see `AmqpTopology.unbind`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding {
  readonly _tag: "Binding" | "AbsentBinding"
  readonly source: string
  /** A name; the label of a server-named queue. */
  readonly destination: string
  readonly destinationType: "queue" | "exchange" | "serverNamedQueue"
  readonly routingKey: string
  readonly arguments: Arguments
}

/**
 * Exchanges, queues, server-named queues and bindings, declared in this order.
 *
 * @category models
 * @since 0.1.0
 */
export interface Topology {
  readonly exchanges: ReadonlyArray<Exchange>
  readonly queues: ReadonlyArray<Queue>
  readonly serverNamedQueues: ReadonlyArray<ServerNamedQueue>
  readonly bindings: ReadonlyArray<Binding>
}
