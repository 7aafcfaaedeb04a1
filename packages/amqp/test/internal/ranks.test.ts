import { assert, describe, it } from "@effect/vitest"
import { ranksOf } from "../../src/internal/partitions/ranks.ts"

const ownersOf = (names: ReadonlyArray<string>, count: number): ReadonlyArray<string> => {
  const ranks = names.map((name) => ranksOf(name, count))
  return Array.from({ length: count }, (_, partition) => {
    const best = Math.max(...ranks.map((of) => of[partition]!))
    return names[ranks.findIndex((of) => of[partition] === best)]!
  })
}

describe("the ranks of instances", () => {
  it("are the same each time, positive numbers of 31 bits, and all different", () => {
    const ranks = ranksOf("a", 2000)
    assert.deepStrictEqual(ranksOf("a", 2000), ranks)
    assert.strictEqual(new Set(ranks).size, 2000)
    for (const rank of ranks) assert.isTrue(Number.isInteger(rank) && rank >= 0 && rank < 2 ** 31)
  })

  it("move a partition only to an instance that comes, or from one that goes", () => {
    for (let run = 0; run < 50; run++) {
      const names = Array.from({ length: 5 }, (_, at) => `${run}-${at}`)
      const four = ownersOf(names.slice(0, 4), 60)
      const five = ownersOf(names, 60)
      for (const [partition, owner] of five.entries()) assert.include([four[partition], names[4]], owner)
    }
  })

  it("give no one more than twice the mean with ten partitions for each", () => {
    for (let run = 0; run < 100; run++) {
      const owners = ownersOf(Array.from({ length: 10 }, (_, at) => `${run}-${at}`), 100)
      const shares = new Map<string, number>()
      for (const owner of owners) shares.set(owner, (shares.get(owner) ?? 0) + 1)
      assert.isAtMost(Math.max(...shares.values()), 20)
    }
  })
})
