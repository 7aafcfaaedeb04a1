import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"

const events = AmqpTopology.exchange("events", { type: "topic" })
const queues = Array.from({ length: 300 }, (_, index) => AmqpTopology.queue(`queue-${index}`))
const topology = AmqpTopology.make(
  events,
  ...queues,
  ...queues.map((queue, index) => AmqpTopology.bind(queue, events, `key.${index}`))
)

const application = AmqpPublisher.layer().pipe(
  Layer.provideMerge(AmqpTopology.layer(topology)),
  Layer.provideMerge(AmqpConnection.layer())
)

/** Milliseconds of the clock until an effect is done. */
const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.forkChild(
      Effect.flatMap(effect, (value) => Effect.map(Clock.currentTimeMillis, (end) => ({ value, millis: end - start }))),
      { startImmediately: true }
    )
    for (let steps = 0; fiber.pollUnsafe() === undefined && steps < 1000; steps++) yield* TestClock.adjust("10 millis")
    assert.isDefined(fiber.pollUnsafe(), "it took more than 10 seconds")
    return yield* Fiber.join(fiber)
  })

describe("a topology of 300 queues and 300 bindings, 20 ms away", () => {
  it.effect("is declared within two seconds, at the start and after an outage", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.setLatency("20 millis")
      const started = yield* elapsed(Layer.build(application))
      // The end of the test waits for goodbyes, and the clock stands still by then.
      yield* Effect.addFinalizer(() => broker.setLatency(0))
      assert.isAtMost(started.millis, 2000)

      yield* TestClock.adjust("10 seconds")
      yield* broker.cutConnections
      const publish = Effect.flatMap(
        AmqpPublisher.AmqpPublisher,
        (publisher) => publisher.publish({ exchange: events, routingKey: "key.299", body: "after the outage" })
      )
      const back = yield* elapsed(Effect.provide(publish, started.value))
      assert.isAtMost(back.millis, 2000)
      assert.strictEqual(yield* broker.depth("queue-299"), 1)
    }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layer)))

  it.effect("names what failed, wherever it stands in it", () =>
    Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue("queue-257", { maxLength: 5 })))
      const error = yield* Effect.flip(AmqpTopology.declare(topology))
      assert.deepInclude(error.reason, { _tag: "TopologyMismatch", entityName: "queue-257", argument: "x-max-length" })
    }).pipe(
      Effect.scoped,
      Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))
    ))
})
