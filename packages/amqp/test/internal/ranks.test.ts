import { assert, describe, it } from "@effect/vitest"
import { ranksOf } from "../../src/internal/partitions/ranks.ts"

/** For each partition the number of the instance with the highest rank. */
const ownersOf = (numbers: ReadonlyArray<number>, count: number): ReadonlyArray<number> => {
  const ranks = numbers.map((number) => ranksOf(number, count))
  return Array.from({ length: count }, (_, partition) => {
    const best = Math.max(...ranks.map((of) => of[partition]!))
    return numbers[ranks.findIndex((of) => of[partition] === best)]!
  })
}

const sharesOf = (numbers: ReadonlyArray<number>, count: number): ReadonlyArray<number> => {
  const owners = ownersOf(numbers, count)
  return numbers.map((number) => owners.filter((owner) => owner === number).length)
}

const upTo = (length: number) => Array.from({ length }, (_, number) => number)

describe("the ranks of instances", () => {
  it("are the same each time, and positive numbers of 31 bits", () => {
    for (const number of [0, 1, 99, 2000]) {
      const ranks = ranksOf(number, number === 2000 ? 2 : 2000)
      assert.deepStrictEqual(ranksOf(number, ranks.length), ranks)
      for (const rank of ranks) assert.isTrue(Number.isInteger(rank) && rank >= 0 && rank < 2 ** 31, String(rank))
    }
  })

  it("give equal shares, or shares that differ by one", () => {
    for (const count of [1, 2, 5, 12, 60, 100]) {
      for (let instances = 1; instances <= 15; instances++) {
        const shares = sharesOf(upTo(instances), count)
        assert.isAtMost(Math.max(...shares) - Math.min(...shares), 1, `${count} partitions: ${shares.join(" ")}`)
      }
    }
  })

  it("move a partition only to the instance that comes, or from the one that goes", () => {
    for (let missing = 0; missing < 6; missing++) {
      const all = ownersOf(upTo(6), 60)
      const rest = ownersOf(upTo(6).filter((number) => number !== missing), 60)
      for (const [partition, owner] of all.entries()) {
        if (owner !== missing) assert.strictEqual(rest[partition], owner)
      }
    }
  })

  it("give no one more than twice the mean when any three of ten are missing, with ten partitions for each", () => {
    for (let a = 0; a < 10; a++) {
      for (let b = 0; b < a; b++) {
        for (let c = 0; c < b; c++) {
          const numbers = upTo(10).filter((number) => number !== a && number !== b && number !== c)
          const shares = sharesOf(numbers, 100)
          assert.isAtMost(Math.max(...shares), 2 * (100 / 7), `without ${a}, ${b} and ${c}: ${shares.join(" ")}`)
        }
      }
    }
  })
})
