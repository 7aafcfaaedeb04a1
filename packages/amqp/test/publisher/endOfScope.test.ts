import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher at the end of its scope", () => {
  it.effect("waits for what is on its way, and then closes the channel and the connection", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Virtual.application(), scope)
      yield* broker.withholdConfirms
      const publishing = yield* begin(
        Effect.forEach([1, 2, 3], (i) => Effect.provide(publish(paid(i)), context), { concurrency: "unbounded" })
      )
      const closing = yield* begin(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(closing.pollUnsafe())
      assert.deepInclude(
        yield* Effect.provide(reason(publish(paid("late"))), context),
        { _tag: "PublisherClosed", published: "no" }
      )
      yield* broker.releaseConfirms
      yield* Fiber.join(closing)
      yield* Fiber.join(publishing)
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("waits for a message that was submitted when the one before it was confirmed", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Virtual.application(), scope)
      yield* broker.delayConfirms("100 millis")
      const second = yield* begin(
        Effect.gen(function*() {
          yield* publish(paid("first"))
          const second = yield* Effect.forkDetach(publish(paid("second")), { startImmediately: true })
          yield* Scope.close(scope, Exit.void)
          return yield* Fiber.await(second)
        }).pipe(Effect.provide(context))
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(second), Exit.void)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("does not wait for a message that was refused before it could be written", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Virtual.application(), scope)
      yield* TestClock.adjust("10 seconds")
      yield* broker.refuseConnects(1)
      yield* broker.cutConnections
      yield* Virtual.settle
      const publisher = Context.get(context, AmqpPublisher.AmqpPublisher)
      const refused = yield* begin(Effect.flip(publisher.publish(paid("x", { userId: "somebody" }))))
      const closing = yield* begin(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("2 seconds")
      yield* Virtual.settle
      assert.strictEqual((yield* Fiber.join(refused)).reason._tag, "InvalidMessage")
      assert.isDefined(closing.pollUnsafe(), "the scope, which had nothing more to wait for, is closed")
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("gives up at the drain deadline, and says so to every message that is left", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Virtual.application({ publisher: { confirmTimeout: "1 minute", drainTimeout: "2 seconds", maxInFlight: 1 } }),
        scope
      )
      yield* broker.withholdConfirms
      const publishing = yield* begin(Effect.forEach(
        [1, 2],
        (i) => Effect.provide(reason(publish(paid(i))), context),
        { concurrency: "unbounded" }
      ))
      const closing = yield* begin(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      const [first, second] = yield* Fiber.join(publishing)
      assert.deepInclude(first, { _tag: "PublisherClosed", published: "unknown" })
      assert.deepInclude(second, { _tag: "PublisherClosed", published: "no" })
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
