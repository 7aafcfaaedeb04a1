/**
 * What is in the broker, counted.
 */
import type { Headers } from "effect-amqp/AmqpMessage"
import type { Link } from "./link.ts"
import type { Network } from "./network.ts"

/**
 * How much clients have open. Every number is 0 once everything that used the broker has closed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Counts {
  readonly connections: number
  readonly channels: number
  readonly consumers: number
  /** Deliveries that were not acknowledged. */
  readonly unacked: number
  /** Operations that wait for an answer. */
  readonly waiting: number
  /** Sets of driver callbacks that may still be called: one for each connection, channel and consumer. */
  readonly listeners: number
  /** Confirms that a fault holds back or has lost, on channels that are open. */
  readonly unconfirmed: number
  /** Timers that are set for frames under way. Timers of messages and queues are not counted. */
  readonly timers: number
}

/**
 * A queue at this moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueState {
  readonly name: string
  /** Messages that wait for a consumer. */
  readonly ready: number
  /** Messages that were delivered and not acknowledged. */
  readonly unacked: number
  readonly consumers: number
  /** The arguments that the queue was declared with. */
  readonly arguments: Headers
  /** The bodies of the ready messages, in the order in which they will be delivered. */
  readonly bodies: ReadonlyArray<Uint8Array>
}

export const count = (network: Network<Link>): Counts => {
  const channels = Array.from(network.links).flatMap((link) => Array.from(link.channels.values()))
  const served = Array.from(network.broker.connections).flatMap((connection) => Array.from(connection.channels))
  const sum = <A>(all: ReadonlyArray<A>, of: (one: A) => number) => all.reduce((total, one) => total + of(one), 0)
  const consumers = sum(channels, (channel) => channel.consumers.size)
  return {
    connections: network.links.size,
    channels: channels.length,
    consumers,
    unacked: sum(served, (channel) => channel.unacked.size),
    waiting: sum(channels, (channel) => channel.waiters.size),
    listeners: network.links.size + channels.length + consumers,
    unconfirmed: sum(served, (channel) => channel.confirms.openCount),
    timers: network.alarmCount
  }
}

export const inspectQueue = (network: Network<Link>, name: string, vhost: string): QueueState | undefined => {
  const queue = network.broker.vhosts.get(vhost)?.queues.get(name)
  return queue === undefined ? undefined : {
    name,
    ready: queue.messageCount,
    unacked: queue.unackedCount,
    consumers: queue.consumers.length,
    arguments: queue.arguments,
    bodies: Array.from(queue.messages(), (message) => message.body)
  }
}
