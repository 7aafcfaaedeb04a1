import { assert, describe, it } from "@effect/vitest"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"

describe("Patience", () => {
  it.effect("waits until a condition holds", () =>
    Effect.gen(function*() {
      let holds = false
      const waiting = yield* Effect.forkChild(Patience.until("it holds", Effect.sync(() => holds)))
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(waiting.pollUnsafe())
      holds = true
      yield* TestClock.adjust("20 millis")
      yield* Fiber.join(waiting)
    }))

  it.effect("says what was expected when it never comes", () =>
    Effect.gen(function*() {
      const waiting = yield* Effect.forkChild(Effect.exit(Effect.never.pipe(Patience.within("the sun rises"))))
      yield* TestClock.adjust(Patience.limit)
      const exit = yield* Fiber.join(waiting)
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "Not within 2m: the sun rises")
    }))
})
