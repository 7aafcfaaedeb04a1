import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory, FaultPlan } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { between } from "./support/Between.ts"

const work = AmqpTopology.queue("work")

const client = AmqpPublisher.layer({ confirmTimeout: "20 seconds" }).pipe(
  Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(work))),
  Layer.provideMerge(AmqpConnection.layer({ retry: { interval: "500 millis", max: 1000 } }))
)

/** Let time pass in small steps, each with the turns of the scheduler that frames need. */
const pass = (millis: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust(100), Effect.repeat(TestClock.adjust(0), { times: 4 })), {
    times: millis / 100 - 1
  })

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
    handlerMillis: between(0, 1500)
  }),
  ({ extra, ...shape }) => ({ ...shape, prefetch: shape.concurrency + extra })
)

const options = ({ concurrency, keys, prefetch }: Shape): AmqpConsumer.Options<never> => ({
  concurrency,
  prefetch,
  onFailure: "requeue",
  orderedBy: keys === 0 ? undefined : (delivery) => String(Number(delivery.messageId) % keys)
})

interface Account {
  readonly confirmed: Set<string>
  /** Once for each time that a handler came to its end. */
  readonly finished: Array<string>
}

/** Publish and consume while a plan is played, and then until all is quiet; what is left is what leaked. */
const account = (shape: Shape, plan: FaultPlan.FaultPlan, more: Effect.Effect<void, never, AmqpMemory.AmqpMemory>) =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    const confirmed = new Set<string>()
    const finished: Array<string> = []
    const application = yield* Scope.make()
    const services = yield* Layer.buildWithScope(client, application)
    const consumption = yield* Scope.fork(application)
    yield* AmqpConsumer.make(work, (delivery) =>
      Effect.andThen(
        Effect.sleep(shape.handlerMillis * ((delivery.deliveryTag % 3) / 2)),
        Effect.sync(() => finished.push(delivery.messageId!))
      ), options(shape)).pipe(Effect.provideContext(services), Scope.provide(consumption))

    const faults = yield* Effect.forkChild(Effect.all([FaultPlan.play(plan), more], { concurrency: 2 }))
    const publishing = yield* Effect.forEach(
      Array.from({ length: shape.messages }, (_, i) => String(i)),
      (messageId) =>
        Effect.delay(AmqpPublisher.AmqpPublisher, Number(messageId) * 200).pipe(
          Effect.flatMap((publisher) => publisher.publish({ routingKey: "work", body: "", messageId })),
          Effect.match({ onSuccess: () => void confirmed.add(messageId), onFailure: () => {} })
        ),
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.provideContext(services), Effect.forkChild)
    yield* pass(plan.duration)
    yield* Fiber.join(faults)
    yield* pass(30_000 + shape.messages * shape.handlerMillis)
    yield* Fiber.join(publishing)
    assert.strictEqual((yield* broker.queue("work"))?.unacked, 0)
    assert.strictEqual((yield* broker.queue("work"))?.ready, 0)

    const closing = yield* Effect.forkChild(Scope.close(application, Exit.void), { startImmediately: true })
    yield* pass(2000)
    yield* Fiber.join(closing)
    assert.deepStrictEqual(yield* broker.leftovers, [])
    return { confirmed, finished } satisfies Account
  }).pipe(Effect.provide(AmqpMemory.layer))

const quiet: FaultPlan.FaultPlan = { seed: 0, duration: 10_000, steps: [] }

describe("AmqpConsumer under faults", () => {
  it.effect.prop(
    "without faults every message is handled exactly once",
    { shape: Shape },
    ({ shape }) =>
      Effect.gen(function*() {
        const { confirmed, finished } = yield* account(shape, quiet, Effect.void)
        assert.strictEqual(confirmed.size, shape.messages)
        assert.deepStrictEqual([...finished].sort(), [...confirmed].sort())
      }),
    { arbitrary: { runs: 20 }, timeout: 120_000 }
  )

  it.effect.prop(
    "whatever fails, every confirmed message is handled to its end at least once, and nothing leaks",
    { shape: Shape, seed: between(0, 1_000_000), cancels: Arbitrary.array(between(0, 9999), { maxLength: 3 }) },
    ({ cancels, seed, shape }) =>
      Effect.gen(function*() {
        const cancelling = Effect.forEach(
          cancels,
          (at) => Effect.delay(Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.cancelConsumers("work")), at),
          { concurrency: "unbounded", discard: true }
        )
        const plan = FaultPlan.random({ seed, duration: "10 seconds" })
        const { confirmed, finished } = yield* account(shape, plan, cancelling)
        const handled = new Set(finished)
        assert.deepStrictEqual([...confirmed].filter((id) => !handled.has(id)), [], `plan ${JSON.stringify(plan)}`)
      }),
    { arbitrary: { runs: 60 }, timeout: 240_000 }
  )
})
