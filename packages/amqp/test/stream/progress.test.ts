import { assert, describe, it } from "@effect/vitest"
import { seeded } from "effect-amqp-memory/SeededRandom"
import { Progress } from "../../src/internal/stream/progress.ts"

describe("the offset at which a reader goes on", () => {
  it("moves on when everything below it is handled, in whatever order", () => {
    const progress = new Progress(undefined)
    assert.isUndefined(progress.next)
    for (const offset of [5, 6, 9]) assert.isTrue(progress.arrive(offset))
    assert.strictEqual(progress.next, 5)
    progress.finish(9)
    progress.finish(5)
    assert.strictEqual(progress.next, 6)
    progress.finish(6)
    assert.strictEqual(progress.next, 10)
  })

  it("waits for what was lost with its attachment and comes again, and takes nothing twice that is in hand", () => {
    const progress = new Progress(0)
    for (const offset of [0, 1, 2]) progress.arrive(offset)
    progress.begin(0)
    progress.begin(2)
    progress.detach()
    progress.finish(2)
    progress.finish(0)
    assert.strictEqual(progress.next, 1)
    assert.deepStrictEqual([1, 2, 3].map((offset) => progress.arrive(offset)), [true, false, true])
    progress.finish(1)
    assert.strictEqual(progress.next, 3)
  })

  it("passes over what the stream has dropped meanwhile", () => {
    const progress = new Progress(0)
    for (const offset of [0, 1, 2]) progress.arrive(offset)
    progress.begin(1)
    progress.detach()
    progress.finish(1)
    assert.strictEqual(progress.next, 0)
    progress.arrive(50)
    progress.finish(50)
    assert.strictEqual(progress.next, 51)
  })

  it("never passes over a message that is not handled, whatever happens, and takes none twice, 2,000 times", () => {
    for (let seed = 0; seed < 2000; seed++) {
      const random = seeded(seed)
      const below = (bound: number) => Math.floor(random() * bound)
      const stream = Array.from({ length: 40 }, (_, i) => 3 * i + below(3))
      /** The stream keeps what lies from here on. */
      let kept = 0
      let arrivedTo = 0
      const waiting: Array<number> = []
      const busy: Array<number> = []
      const handled = new Set<number>()
      let dropped = 0
      const progress = new Progress(0)
      const check = () => {
        const unhandled = stream.slice(dropped).find((offset) => !handled.has(offset))
        assert.isAtMost(progress.next!, unhandled ?? Infinity, `seed ${seed}`)
      }
      const attach = () => {
        progress.detach()
        waiting.length = 0
        dropped = Math.max(dropped, kept)
        arrivedTo = stream.findIndex((offset, i) => i >= kept && offset >= progress.next!)
        if (arrivedTo === -1) arrivedTo = stream.length
      }
      for (let step = 0; step < 300; step++) {
        const what = below(20)
        if (what < 8 && arrivedTo < stream.length) {
          const offset = stream[arrivedTo++]!
          if (progress.arrive(offset)) {
            assert.isFalse(handled.has(offset) || busy.includes(offset), `${offset} twice, seed ${seed}`)
            waiting.push(offset)
          }
        } else if (what < 13 && waiting.length > 0) {
          const offset = waiting.splice(below(waiting.length), 1)[0]!
          progress.begin(offset)
          busy.push(offset)
        } else if (what < 18 && busy.length > 0) {
          const offset = busy.splice(below(busy.length), 1)[0]!
          handled.add(offset)
          progress.finish(offset)
        } else if (what === 18) attach()
        else if (what === 19 && below(10) === 0) kept = Math.min(arrivedTo + below(3), stream.length - 1)
        check()
      }
      attach()
      for (; arrivedTo < stream.length; arrivedTo++) {
        const offset = stream[arrivedTo]!
        if (progress.arrive(offset)) busy.push(offset)
      }
      for (const offset of busy) {
        handled.add(offset)
        progress.finish(offset)
        check()
      }
      assert.strictEqual(progress.next, stream.at(-1)! + 1, `seed ${seed}`)
    }
  })
})
