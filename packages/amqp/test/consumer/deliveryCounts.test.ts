import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { logging } from "../support/Consuming.ts"

const versions = ["3.10", "4.0", "4.3"] as const
const dead = AmqpTopology.queue("dead")
const jobs = AmqpTopology.queue("jobs", {
  type: "quorum",
  deliveryLimit: 5,
  deadLetterExchange: "",
  deadLetterRoutingKey: "dead"
})

const on = <A, E, R>(version: typeof versions[number], test: Effect.Effect<A, E, R>, queue = jobs) =>
  test.pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
        Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(queue, dead))),
        Layer.provideMerge(AmqpConnection.layer()),
        Layer.provideMerge(AmqpMemory.layerWith({ version }))
      )
    )
  )

const send = Effect.fnUntraced(function*(count: number, queue = "jobs") {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  for (let i = 0; i < count; i++) yield* publisher.publish({ routingKey: queue, body: String(i) })
  yield* settled
})

const depth = (queue: string) => Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.depth(queue))

/** Run a consumer for a while, and end it in order. */
const visit = Effect.fnUntraced(function*<E, R>(
  consumer: Effect.Effect<unknown, E, R | Scope.Scope>,
  millis: number
) {
  const scope = yield* Scope.make()
  yield* Scope.provide(consumer, scope)
  yield* pass(millis)
  const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
  yield* pass(10_000)
  yield* Fiber.join(closing)
})

for (const version of versions) {
  describe(`a quorum queue of RabbitMQ ${version}`, () => {
    it.effect("loses no message to orderly restarts of a worker whose handlers hang", () =>
      on(
        version,
        Effect.gen(function*() {
          yield* send(60)
          for (let restart = 0; restart < 8; restart++) {
            yield* visit(
              AmqpConsumer.make(jobs, () => Effect.never, { concurrency: 3, drainTimeout: "1 second" }),
              1000
            )
          }
          assert.deepStrictEqual([yield* depth("jobs"), yield* depth("dead")], [60, 0])
        })
      ))

    it.effect("loses no message to readers that take a few of a stream of deliveries", () =>
      on(
        version,
        Effect.gen(function*() {
          yield* send(60)
          let acked = 0
          for (let run = 0; run < 10; run++) {
            yield* AmqpConsumer.stream(jobs).pipe(
              Stream.take(1),
              Stream.runForEach((delivery) => Effect.map(delivery.ack(), () => acked++))
            )
            yield* settled
          }
          assert.deepStrictEqual([acked, yield* depth("jobs"), yield* depth("dead")], [10, 50, 0])
        })
      ))

    it.effect("loses no message to a worker that keeps the order and whose handlers hang", () =>
      on(
        version,
        Effect.gen(function*() {
          yield* send(3)
          for (let restart = 0; restart < 8; restart++) {
            yield* visit(
              AmqpConsumer.make(jobs, () => Effect.never, { keepOrder: true, drainTimeout: "1 second" }),
              1000
            )
          }
          assert.deepStrictEqual([yield* depth("jobs"), yield* depth("dead")], [3, 0])
        })
      ))

    it.effect("loses no message to handlers that end one by one at the end of the scope", () =>
      on(
        version,
        Effect.gen(function*() {
          yield* send(100)
          let handled = 0
          for (let restart = 0; restart < 8; restart++) {
            yield* visit(
              AmqpConsumer.make(
                jobs,
                () => Effect.andThen(Effect.sleep(990 + (handled * 37) % 200), Effect.sync(() => handled++)),
                { concurrency: 5 }
              ),
              1000
            )
          }
          assert.isAbove(handled, 30)
          assert.deepStrictEqual([yield* depth("jobs"), yield* depth("dead")], [100 - handled, 0])
        })
      ))

    it.effect("loses no message to handlers that hang past the acknowledgement timeout again and again", () =>
      on(
        version,
        Effect.gen(function*() {
          yield* send(3)
          const scope = yield* Scope.make()
          yield* Scope.provide(
            AmqpConsumer.make(jobs, () => Effect.never, { concurrency: 40, drainTimeout: "1 second" }),
            scope
          )
          yield* pass(12 * 3_600_000, 60_000)
          const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
          yield* pass(10_000)
          yield* Fiber.join(closing)
          assert.deepStrictEqual([yield* depth("jobs"), yield* depth("dead")], [3, 0])
        })
      ).pipe(Effect.provide(logging([]))), 60_000)

    it.effect("loses no message to slow jobs behind each other", () =>
      on(
        version,
        Effect.gen(function*() {
          yield* send(20)
          const consumer = yield* AmqpConsumer.make(jobs, () => Effect.sleep("10 minutes"))
          yield* pass(20 * 600_000 + 60_000, 60_000)
          assert.deepInclude(yield* consumer.counts, { acked: 20 })
          assert.deepStrictEqual([yield* depth("jobs"), yield* depth("dead")], [0, 0])
        })
      ), 60_000)

    it.effect("counts a failed try, so that a policy by attempts ends", () =>
      on(
        version,
        Effect.gen(function*() {
          const attempts: Array<number> = []
          yield* AmqpConsumer.make(
            jobs,
            (delivery) => Effect.andThen(Effect.sync(() => attempts.push(delivery.attempts)), Effect.fail("no")),
            { onFailure: (_, { attempts }) => attempts < 3 ? "requeue" : "deadLetter" }
          )
          yield* send(1)
          assert.deepStrictEqual(attempts, [1, 2, 3])
          assert.strictEqual(yield* depth("dead"), 1)
        })
      ))

    it.effect("ends a requeue at its delivery limit", () =>
      on(
        version,
        Effect.gen(function*() {
          let runs = 0
          yield* AmqpConsumer.make(
            jobs,
            () => Effect.andThen(Effect.sync(() => runs++), Effect.fail("no")),
            { onFailure: "requeue" }
          )
          yield* send(1)
          yield* pass(1000)
          assert.deepStrictEqual([runs, yield* depth("dead")], [6, 1])
        })
      ))
  })
}

describe("the prefetch of a consumer", () => {
  const prefetchOf = (version: typeof versions[number], queue: AmqpTopology.Queue, concurrency: number) => {
    let unacked: number | undefined
    return Effect.as(
      on(
        version,
        Effect.gen(function*() {
          yield* send(150, queue.name)
          const visiting = AmqpConsumer.make(queue, () => Effect.never, { concurrency, drainTimeout: "1 second" })
          yield* visit(
            Effect.andThen(
              visiting,
              Effect.andThen(
                settled,
                Effect.flatMap(AmqpMemory.AmqpMemory, (broker) =>
                  Effect.map(broker.queue(queue.name), (found) => {
                    unacked = found?.unacked
                  }))
              )
            ),
            1000
          )
        }),
        queue
      ),
      undefined
    ).pipe(Effect.map(() => unacked))
  }
  const classic = AmqpTopology.queue("jobs", { type: "classic" })
  const quorum = AmqpTopology.queue("jobs", { type: "quorum" })
  const single = AmqpTopology.queue("jobs", { type: "quorum", singleActiveConsumer: true })

  it.effect("is what is handled at once where the unbegun counts, else 100", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* prefetchOf("4.0", quorum, 3), 3)
      assert.strictEqual(yield* prefetchOf("3.10", jobs, 3), 3)
      assert.strictEqual(yield* prefetchOf("3.10", quorum, 3), 100)
      assert.strictEqual(yield* prefetchOf("4.3", quorum, 3), 100)
      assert.strictEqual(yield* prefetchOf("4.0", classic, 3), 100)
      assert.strictEqual(yield* prefetchOf("4.3", single, 1), 1)
    }))

  it.effect("is warned of at attach where it makes a restart cost deliveries", () => {
    const lines: Parameters<typeof logging>[0] = []
    const warned = () => lines.filter(({ message }) => message.includes("prefetches more than it handles")).length
    return Effect.gen(function*() {
      yield* on("4.0", AmqpConsumer.make(jobs, () => Effect.void, { prefetch: 50 }))
      assert.strictEqual(warned(), 1)
      yield* on("4.3", AmqpConsumer.make(jobs, () => Effect.void, { prefetch: 50 }))
      yield* on("4.0", AmqpConsumer.make(jobs, () => Effect.void, { prefetch: 50, concurrency: 50 }))
      assert.strictEqual(warned(), 1)
    }).pipe(Effect.provide(logging(lines)))
  })
})
