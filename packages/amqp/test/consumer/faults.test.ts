import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, Layer, Schedule, Scope } from "effect"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory, FaultPlan } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { between } from "../support/Between.ts"

const work = AmqpTopology.queue("work")

const client = AmqpPublisher.layer({ confirmTimeout: "20 seconds" }).pipe(
  Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(work))),
  Layer.provideMerge(AmqpConnection.layer({ retry: { interval: "500 millis", max: 1000 } }))
)

interface Shape {
  readonly messages: number
  readonly concurrency: number
  readonly prefetch: number
  readonly keys: number
  readonly handlerMillis: number
}

const Shape: Arbitrary.Arbitrary<Shape> = Arbitrary.map(
  Arbitrary.all({
    messages: between(1, 40),
    concurrency: between(1, 8),
    extra: between(0, 20),
    keys: between(0, 3),
    handlerMillis: between(0, 15)
  }),
  ({ extra, handlerMillis, ...shape }) => ({
    ...shape,
    handlerMillis: handlerMillis * 100,
    prefetch: shape.concurrency + extra
  })
)

/** The ids of messages, once for each time that a handler came to its end with one. */
type Finished = Array<string>

type Consume = (shape: Shape, finished: Finished) => Effect.Effect<unknown, unknown, AmqpConnection.AmqpConnection>

const handle = (delivery: AmqpDelivery.Delivery, shape: Shape, finished: Finished) =>
  Effect.andThen(
    Effect.sleep(shape.handlerMillis * ((delivery.deliveryTag % 3) / 2)),
    Effect.sync(() => void finished.push(delivery.messageId!))
  )

const singly: Consume = (shape, finished) =>
  AmqpConsumer.run(work, (delivery) => handle(delivery, shape, finished), {
    concurrency: shape.concurrency,
    prefetch: shape.prefetch,
    orderedBy: shape.keys === 0 ? undefined : (delivery) => String(Number(delivery.messageId) % shape.keys)
  })

const afterTwoRetries: Consume = (shape, finished) =>
  AmqpConsumer.run(
    work,
    (delivery) => delivery.attempts < 3 ? Effect.fail("not yet") : handle(delivery, shape, finished),
    {
      concurrency: shape.concurrency,
      prefetch: shape.prefetch,
      onFailure: AmqpConsumer.retry(Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 5 })))
    }
  )

const inBatches: Consume = (shape, finished) =>
  AmqpConsumer.runBatch(
    work,
    (batch) =>
      Effect.andThen(
        Effect.sleep(shape.handlerMillis),
        Effect.sync(() => void finished.push(...batch.map((delivery) => delivery.messageId!)))
      ),
    { size: shape.concurrency, within: "300 millis", prefetch: shape.prefetch }
  )

/**
 * Publish and consume while a plan is played, and until all is quiet after it. Fails if something is left in the queue
 * then, or if anything leaked.
 */
const account = (
  consume: Consume,
  shape: Shape,
  plan: FaultPlan.FaultPlan,
  cancels: ReadonlyArray<number> = []
) =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    const confirmed = new Set<string>()
    const finished: Finished = []
    const application = yield* Scope.make()
    const services = yield* Layer.buildWithScope(client, application)
    const publisher = yield* Effect.provideContext(AmqpPublisher.AmqpPublisher, services)
    const consuming = yield* Effect.forkChild(Effect.provideContext(consume(shape, finished), services))
    const faults = yield* Effect.forkChild(FaultPlan.play(plan))
    const cancelling = yield* Effect.forkChild(Effect.forEach(
      cancels,
      (at) => Effect.delay(broker.cancelConsumers("work"), at),
      { concurrency: "unbounded", discard: true }
    ))
    const publishing = yield* Effect.forkChild(Effect.forEach(
      Array.from({ length: shape.messages }, (_, i) => String(i)),
      (messageId) =>
        publisher.publish({ routingKey: "work", body: "", messageId }).pipe(
          Effect.delay(Number(messageId) * 200),
          Effect.match({ onSuccess: () => void confirmed.add(messageId), onFailure: () => {} })
        ),
      { concurrency: "unbounded", discard: true }
    ))
    yield* pass(plan.duration, 100)
    yield* Effect.forEach([faults, cancelling], Fiber.join)
    yield* pass(60_000 + shape.messages * shape.handlerMillis, 100)
    yield* Fiber.join(publishing)
    assert.deepInclude(yield* broker.queue("work"), { ready: 0, unacked: 0 })

    const stopping = yield* Effect.forkChild(
      Effect.andThen(Fiber.interrupt(consuming), Scope.close(application, Exit.void)),
      { startImmediately: true }
    )
    yield* pass(2000, 100)
    yield* Fiber.join(stopping)
    assert.deepStrictEqual(yield* broker.leftovers, [])
    return { confirmed, finished }
  }).pipe(Effect.provide(AmqpMemory.layer))

const quiet: FaultPlan.FaultPlan = { seed: 0, duration: 10_000, steps: [] }

const ways: ReadonlyArray<readonly [string, Consume]> = [
  ["one by one", singly],
  ["after two retries with a delay", afterTwoRetries],
  ["in batches", inBatches]
]

describe("AmqpConsumer under faults", () => {
  for (const [how, consume] of ways) {
    it.effect.prop(
      `${how}, without faults every message is handled exactly once`,
      { shape: Shape },
      ({ shape }) =>
        Effect.gen(function*() {
          const { confirmed, finished } = yield* account(consume, shape, quiet)
          assert.strictEqual(confirmed.size, shape.messages)
          assert.deepStrictEqual([...finished].sort(), [...confirmed].sort())
        }),
      { arbitrary: { runs: 15 }, timeout: 120_000 }
    )

    it.effect.prop(
      `${how}, whatever fails, every confirmed message is handled to its end at least once, and nothing leaks`,
      { shape: Shape, seed: between(0, 1_000_000), cancels: Arbitrary.array(between(0, 9999), { maxLength: 3 }) },
      ({ cancels, seed, shape }) =>
        Effect.gen(function*() {
          const plan = FaultPlan.random({ seed, duration: "10 seconds" })
          const { confirmed, finished } = yield* account(consume, shape, plan, cancels)
          const handled = new Set(finished)
          assert.deepStrictEqual([...confirmed].filter((id) => !handled.has(id)), [], JSON.stringify(plan))
        }),
      { arbitrary: { runs: 40 }, timeout: 240_000 }
    )
  }
})
