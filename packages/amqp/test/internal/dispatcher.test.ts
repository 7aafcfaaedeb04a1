import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Dispatcher } from "../../src/internal/consumer/dispatcher.ts"

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

/** The next turn of the event loop: what was weakly referred to in this one is kept until it is over. */
const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

describe("the dispatcher of a consumer", () => {
  it.live("lets go of what was handled, also while there is always something that waits", () =>
    Effect.gen(function*() {
      let finish = () => {}
      const dispatcher = new Dispatcher<object>({
        concurrency: 1,
        keyOf: undefined,
        clock: yield* Clock.Clock,
        wakeLater: (wake) => wake(),
        handle: () =>
          Effect.runFork(Effect.callback<void>((resume) => {
            finish = () => resume(Effect.void)
          })),
        isPartial: () => false,
        resolve: () => Effect.runFork(Effect.succeed("requeue")),
        onSettled() {},
        flush() {}
      })
      const portions: Array<WeakRef<object>> = []
      const offer = () => {
        const portion = {}
        portions.push(new WeakRef(portion))
        dispatcher.offer(portion, 0)
      }
      for (let waiting = 0; waiting <= 10; waiting++) offer()
      for (let handled = 0; handled < 1000; handled++) {
        offer()
        finish()
      }
      yield* turn
      collectGarbage()
      assert.isAtMost(portions.filter((portion) => portion.deref() !== undefined).length, 20)
    }))
})
