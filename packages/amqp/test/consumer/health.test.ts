import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { consumers, onMemory, work } from "../support/Consuming.ts"

describe("the health of an AmqpConsumer", () => {
  it.effect("says that a consumer is attached, since when and on which session, and nothing after it ended", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* pass(1000)
      const scope = yield* Scope.make()
      const consumer = yield* Scope.provide(AmqpConsumer.make(work, () => Effect.void), scope)
      const before = yield* consumer.health
      assert.deepInclude(before, { _tag: "Attached", queue: "work", since: new Date(1000) })
      yield* broker.refuseConnects(4)
      yield* broker.cutConnections
      yield* pass(1000)
      const [during] = yield* consumers
      assert.strictEqual(during?._tag === "Detached" ? during.cause?.reason._tag : undefined, "ConnectionLost")
      yield* pass(5000)
      const after = yield* consumer.health
      assert.strictEqual(after._tag, "Attached")
      assert.isAbove(
        after._tag === "Attached" ? after.epoch : 0,
        before._tag === "Attached" ? before.epoch : Number.POSITIVE_INFINITY
      )
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* consumers, [])
    })))
})
