/**
 * The rank of an instance for each partition, which RabbitMQ compares as the priority of its consumers. It follows from the
 * number of the instance alone, so that every instance ranks by itself.
 *
 * Of the instances 0 to n, each has an equal share, and the next one takes its own from those who have most; nothing else
 * moves. Where a number is missing, its partitions go to the others alike: behind those who had a partition one after the
 * other, the rest stand in a random order.
 *
 * @see https://www.rabbitmq.com/docs/consumer-priority
 */
import { crc32 } from "node:zlib"

// Between the ranks of two who have a partition one after the other: room for the ranks of the rest. With 2,000 of them the
// highest rank is less than 2^31, as the wire has it.
const distance = 1_000_000

/** Spreads the bits of a checksum, which by itself is linear: two numbers would differ by the same bits everywhere. */
const mixed = (checksum: number): number => {
  let bits = checksum
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

const drawn = (below: number, number: number, partition: number): number =>
  mixed(crc32(`${number}/${partition}`)) % below

/** Takes the share of the next instance from those before it, each of which keeps as much as any other, or one more. */
const takeShare = (shares: Array<Array<number>>, count: number): ReadonlyArray<number> => {
  if (shares.length === 0) {
    shares.push(Array.from({ length: count }, (_, partition) => partition))
    return shares[0]!
  }
  const share: Array<number> = []
  const fair = Math.floor(count / (shares.length + 1))
  while (share.length < fair) {
    share.push(shares.reduce((most, other) => other.length > most.length ? other : most).pop()!)
  }
  shares.push(share)
  return share
}

/** The priority of the instance with a number, for each of `count` partitions; the same each time. */
export const ranksOf = (number: number, count: number): ReadonlyArray<number> => {
  const shares: Array<Array<number>> = []
  /** For each partition the ranks of the instances so far, the highest last. */
  const orders: ReadonlyArray<Array<number>> = Array.from({ length: count }, () => [])
  let ranks: ReadonlyArray<number> = []
  for (let next = 0; next <= number; next++) {
    const own = new Set(takeShare(shares, count))
    ranks = orders.map((order, partition) => {
      if (own.has(partition)) {
        const rank = (next + 1) * distance
        order.push(rank)
        return rank
      }
      const at = drawn(order.length, next, partition)
      const rank = Math.floor(((order[at - 1] ?? 0) + order[at]!) / 2)
      order.splice(at, 0, rank)
      return rank
    })
  }
  return ranks
}
