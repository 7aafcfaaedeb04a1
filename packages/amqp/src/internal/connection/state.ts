/**
 * What can be said of a connection at one moment: the state of each session, and of each consumer.
 */
import type * as Duration from "effect/Duration"
import type { Address, AmqpError } from "../../AmqpError.ts"

/**
 * Names what a component does with its session.
 *
 * @category models
 * @since 0.1.0
 */
export type Role = "publish" | "consume"

interface InRole {
  /** Is `undefined` until a component has asked for the session, and for a session that both roles share. */
  readonly role: Role | undefined
}

/**
 * No component has asked for this session yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface Idle extends InRole {
  readonly _tag: "Idle"
}

/**
 * The first connect is under way; `attempt` counts from 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connecting extends InRole {
  readonly _tag: "Connecting"
  readonly attempt: number
}

/**
 * A session is established, and every component is set up on it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connected extends InRole {
  readonly _tag: "Connected"
  /** The number of the session; every session has another. */
  readonly epoch: number
  readonly address: Address
  /** What the broker says of itself: `product`, `version`, `cluster_name` and the like. */
  readonly serverProperties: Readonly<Record<string, unknown>>
}

/**
 * The broker has a resource alarm and stopped reading. Messages to publish wait.
 *
 * @category models
 * @since 0.1.0
 */
export interface Blocked extends InRole {
  readonly _tag: "Blocked"
  readonly epoch: number
  readonly address: Address
  readonly reason: string
}

/**
 * The session was lost for `cause`; attempt number `attempt` of this outage follows after `nextDelay`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reconnecting extends InRole {
  readonly _tag: "Reconnecting"
  readonly attempt: number
  readonly cause: AmqpError
  readonly nextDelay: Duration.Duration
}

/**
 * No further attempt follows, and every operation fails with `cause`: the retry budget is spent, or a schedule or the
 * driver threw.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failed extends InRole {
  readonly _tag: "Failed"
  readonly cause: AmqpError
}

/**
 * The application closed the connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Closed extends InRole {
  readonly _tag: "Closed"
}

/**
 * The state of one session.
 *
 * @category models
 * @since 0.1.0
 */
export type State = Idle | Connecting | Connected | Blocked | Reconnecting | Failed | Closed

/**
 * A consumer gets the messages of its queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attached {
  readonly _tag: "Attached"
  readonly queue: string
  readonly since: Date
  /** The session that it consumes on. */
  readonly epoch: number
}

/**
 * A consumer gets no messages: not yet, or no longer for `cause`. It comes back by itself unless it has `ended`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Detached {
  readonly _tag: "Detached"
  readonly queue: string
  readonly since: Date
  readonly cause: AmqpError | undefined
  readonly ended: boolean
}

/**
 * A consumer gets no messages because its program paused it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Paused {
  readonly _tag: "Paused"
  readonly queue: string
  readonly since: Date
}

/**
 * Says if a consumer gets the messages of its queue, since when, and if not, why.
 *
 * @category models
 * @since 0.1.0
 */
export type ConsumerHealth = Attached | Detached | Paused

/**
 * A partition at one of the instances that share it.
 *
 * @category models
 * @since 0.2.0
 */
export interface PartitionHealth {
  readonly partition: number
  /** The consumer of its queue. All instances consume from all queues, and RabbitMQ chooses one of them for each. */
  readonly consumer: ConsumerHealth
  /** Its messages come here, as far as messages tell: a partition is active from the first one on. */
  readonly active: boolean
  /** Since when it is active, or is not any more; `undefined` if it never was. */
  readonly since: Date | undefined
}

/**
 * One instance of a group of consumers that share partitions, see `AmqpPartitions`.
 *
 * @category models
 * @since 0.2.0
 */
export interface GroupHealth {
  /** The name of the partitions. */
  readonly group: string
  /** The name of this instance. */
  readonly instance: string
  /** The lowest number that was free in the group when its session began; the shares follow from the numbers. */
  readonly number: number | undefined
  readonly partitions: ReadonlyArray<PartitionHealth>
}

/**
 * The connection and its consumers at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Health {
  /** The second session is `Idle` until publishing and consuming are both asked for. */
  readonly sessions: readonly [State, State]
  /** Every consumer of the connection: sessions that are connected say nothing of whether anybody consumes. */
  readonly consumers: ReadonlyArray<ConsumerHealth>
  /** The groups that this process is an instance of; their consumers are among `consumers` as well. */
  readonly groups: ReadonlyArray<GroupHealth>
}
