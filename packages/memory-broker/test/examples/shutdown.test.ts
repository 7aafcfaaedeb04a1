import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Ref, Scope } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"

const parcels = AmqpTopology.queue("parcels")

const Warehouse = AmqpPublisher.layer().pipe(
  Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(parcels))),
  Layer.provideMerge(AmqpConnection.layer())
)

it.effect("a worker that is shut down finishes what it has begun and leaves the rest in the queue", () =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    const sent = yield* Ref.make(0)
    const pack = Effect.andThen(Effect.sleep("5 seconds"), Ref.update(sent, (count) => count + 1))

    const application = yield* Scope.make()
    const context = yield* Layer.buildWithScope(Warehouse, application)
    yield* Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      for (let id = 1; id <= 10; id++) yield* publisher.publish({ routingKey: "parcels", body: { id } })
      yield* Scope.provide(AmqpConsumer.make(parcels, () => pack, { concurrency: 2 }), application)
    }).pipe(Effect.provide(context))
    yield* TestClock.adjust("7 seconds")
    assert.strictEqual(yield* Ref.get(sent), 2)

    const closing = yield* Effect.forkChild(Scope.close(application, Exit.void), { startImmediately: true })
    yield* TestClock.adjust("3 seconds")
    yield* Fiber.join(closing)
    assert.strictEqual(yield* Ref.get(sent), 4)
    assert.strictEqual(yield* broker.depth("parcels"), 6)
    assert.deepStrictEqual(yield* broker.leftovers, [])
  }).pipe(Effect.provide(AmqpMemory.layer)))
