/**
 * The rank of an instance for each partition, which RabbitMQ compares as the priority of its consumers: rendezvous
 * hashing, so that every instance ranks by itself, and a partition moves only to or from an instance that comes or goes.
 *
 * An instance has each level once, from its first choice to its last. Ranks that are drawn for each partition by itself
 * would give some instances far more first places than others.
 *
 * @see https://www.rabbitmq.com/docs/consumer-priority
 */
import { crc32 } from "node:zlib"

// A level, and the bits that tell two instances of the same level apart: together less than 2^31, as the wire has it.
const levelSize = 1 << 16

/** Spreads the bits of a checksum, which by itself is linear: two names would differ by the same bits everywhere. */
const mixed = (checksum: number): number => {
  let bits = checksum
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

/** The priority of an instance for each of `count` partitions; the same each time. */
export const ranksOf = (instance: string, count: number): ReadonlyArray<number> => {
  const hashes = Array.from({ length: count }, (_, partition) => mixed(crc32(`${instance}/${partition}`)))
  const order = hashes.map((_, partition) => partition).sort((one, other) => hashes[one]! - hashes[other]!)
  const ranks: Array<number> = []
  for (const [level, partition] of order.entries()) {
    ranks[partition] = level * levelSize + hashes[partition]! % levelSize
  }
  return ranks
}
