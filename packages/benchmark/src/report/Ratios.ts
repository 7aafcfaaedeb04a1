/** What each contender costs beside the others of its cell: the same server, body, and number of messages at once. */
import type { Measured, Ratios } from "../measure/Measured.ts"
import { ratios } from "../measure/Measured.ts"

/** A result beside the others of its cell. */
export type Compared<R> = R & {
  /** As multiples of raw amqplib; there are none to itself. */
  readonly ratios: Ratios | undefined
  /** The peak memory as a multiple of that of the smallest Effect program over amqplib. */
  readonly peak: number | undefined
  /** The CPU a message of the peer that costs least, as a multiple of raw amqplib. */
  readonly cheapestPeer: number | undefined
}

/** The names of those that are compared with. */
export interface Roles {
  readonly baseline: string
  readonly smallestEffect: string
}

const peers: ReadonlySet<string> = new Set([
  "rabbitmq-client",
  "@cloudamqp/amqp-client",
  "amqp-connection-manager",
  "rascal"
])

/** Sets every result beside the others of its cell. */
export const compare = <R extends Measured & { readonly contender: string }>(
  results: ReadonlyArray<R>,
  cellOf: (result: R) => string,
  { baseline, smallestEffect }: Roles
): ReadonlyArray<Compared<R>> => {
  const cells = new Map<string, Array<R>>()
  for (const result of results) {
    const cell = cells.get(cellOf(result))
    if (cell === undefined) cells.set(cellOf(result), [result])
    else cell.push(result)
  }
  return results.map((result) => {
    const cell = cells.get(cellOf(result))!
    const base = cell.find(({ contender }) => contender === baseline)
    const smallest = cell.find(({ contender }) => contender === smallestEffect)
    const rivals = base === undefined ? [] : cell.filter(({ contender }) => peers.has(contender))
    return {
      ...result,
      ratios: base === undefined || base === result ? undefined : ratios(result, base),
      peak: smallest === undefined ? undefined : result.peakBytes / smallest.peakBytes,
      cheapestPeer: rivals.length === 0 ? undefined : Math.min(...rivals.map((rival) => ratios(rival, base!).cpu))
    }
  })
}
