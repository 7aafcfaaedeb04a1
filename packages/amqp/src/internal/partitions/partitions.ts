/**
 * Partitions as a value: what they are called at the broker, and which of them a key belongs to.
 */
import { crc32 } from "node:zlib"
import type { Exchange, Queue, Topology } from "../../AmqpTopology.ts"
import * as AmqpTopology from "../../AmqpTopology.ts"

/**
 * An exchange whose messages go to one of `count` queues, by their key.
 *
 * @category models
 * @since 0.2.0
 */
export interface Partitions {
  readonly _tag: "Partitions"
  readonly name: string
  readonly count: number
  /** The direct exchange to publish to; the routing key is the number of the partition. */
  readonly exchange: Exchange
  /** The queues of the partitions, by their number: quorum queues with a single active consumer. */
  readonly queues: ReadonlyArray<Queue>
  /** The quorum queue of the messages that were given up. */
  readonly parked: Queue
  /** All of it, for a program that publishes, or for an operator who declares what others may use. */
  readonly topology: Topology
}

// The messages of a partition wait behind one another, so that each close of the active consumer counts against all that
// are out: a queue that drops or dead-letters by such counts would leave some of them out. Since RabbitMQ 4.0 a limit of
// -1 says that as well; before, it drops at the first requeue.
const deliveryLimit = 1_000_000_000

// How long RabbitMQ 4.3 keeps a partition for an instance whose node is gone, in milliseconds; by default a minute. Longer
// than a hiccup between nodes, and shorter than the three heartbeats after which a dead instance is to be replaced.
const disconnectedTimeout = 20_000

/** The parking queue is a queue to look into, and each look counts as a delivery. */
export const parkingArguments = { "x-delivery-limit": deliveryLimit } as const

// An exchange that nobody can publish to. Nothing else keeps a number at the broker that is compared when it is declared,
// outlives a lost node, and can be replaced without touching a message.
const markerOf = (name: string, count: number): Exchange =>
  AmqpTopology.exchange(`${name}.count`, { internal: true, alternateExchange: `${name}.${count}` })

/** The exchange by which instances hear who has a partition. */
export const ownersOf = (name: string): Exchange => AmqpTopology.exchange(`${name}.owners`, { type: "fanout" })

/** Reads the count of a marker from the broker's words of its alternate exchange. */
export const countOf = (name: string, actual: string): number | undefined => {
  const at = actual.indexOf(`${name}.`)
  const digits = at === -1 ? null : /^\d+/.exec(actual.slice(at + name.length + 1))
  return digits === null ? undefined : Number(digits[0])
}

/** The queue of a partition. */
export const queueOf = (name: string, partition: number, parked: string): Queue =>
  AmqpTopology.queue(`${name}.${partition}`, {
    type: "quorum",
    singleActiveConsumer: true,
    deliveryLimit,
    deadLetterExchange: "",
    deadLetterRoutingKey: parked,
    // By default all leaders would be on the node that declares them.
    arguments: { "x-queue-leader-locator": "balanced", "x-consumer-disconnected-timeout": disconnectedTimeout }
  })

/** Makes partitions of a count that was checked. */
export const make = (name: string, count: number): Partitions & { readonly marker: Exchange } => {
  const exchange = AmqpTopology.exchange(name)
  const marker = markerOf(name, count)
  const parked = AmqpTopology.queue(`${name}.parked`, { type: "quorum", arguments: parkingArguments })
  const queues = Array.from({ length: count }, (_, partition) => queueOf(name, partition, parked.name))
  const topology = AmqpTopology.make(
    marker,
    exchange,
    ownersOf(name),
    parked,
    ...queues,
    ...queues.map((queue, partition) => AmqpTopology.bind(queue, exchange, String(partition)))
  )
  return { _tag: "Partitions", name, count, exchange, queues, parked, topology, marker }
}

/** The partition of a key: the CRC-32 of its UTF-8 bytes, modulo the count. */
export const partitionOf = (count: number, key: string): number => crc32(key) % count
