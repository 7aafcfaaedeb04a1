import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Exit, Fiber, Latch, Schedule, Scope, Stream } from "effect"
import { AmqpConsumer, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import { consumers, logging, onMemory, ready, send, sendWith, unacked, work } from "../support/Consuming.ts"

const tags = Effect.map(consumers, (all) => all.map(({ _tag }) => _tag))

describe("a paused consumer", () => {
  it.effect("gives back what no handler has begun, lets handlers end, and goes on when it is resumed", () =>
    onMemory(Effect.gen(function*() {
      const latch = yield* Latch.make()
      const seen: Array<string> = []
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.flatMap(delivery.text, (text) => Effect.andThen(Effect.sync(() => seen.push(text)), latch.await))
      )
      yield* send("1", "2", "3")
      assert.deepStrictEqual([seen, yield* ready("work"), yield* unacked], [["1"], 0, 3])
      yield* consumer.pause
      yield* settled
      assert.deepStrictEqual([yield* tags, yield* ready("work"), yield* unacked], [["Paused"], 2, 1])
      yield* latch.open
      yield* settled
      yield* send("4")
      assert.deepStrictEqual([seen, yield* ready("work"), yield* unacked], [["1"], 3, 0])
      yield* consumer.resume
      yield* settled
      assert.deepStrictEqual([yield* tags, seen], [["Attached"], ["1", "2", "3", "4"]])
      assert.deepInclude(yield* consumer.counts, { acked: 4, givenBack: 2, inProgress: 0 })
    })))

  it.effect("stays paused on the next session, and is resumed there", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const seen: Array<string> = []
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.map(delivery.text, (text) => seen.push(text))
      )
      yield* consumer.pause
      yield* broker.cutConnections
      yield* pass(5000)
      yield* send("1")
      assert.deepStrictEqual([yield* tags, seen], [["Paused"], []])
      yield* consumer.resume
      yield* settled
      assert.deepStrictEqual([yield* tags, seen], [["Attached"], ["1"]])
    })).pipe(Effect.provide(logging([]))))

  it.effect("may be resumed while there is no connection", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const seen: Array<string> = []
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.map(delivery.text, (text) => seen.push(text))
      )
      yield* send("1")
      yield* consumer.pause
      yield* broker.refuseConnects(2)
      yield* broker.cutConnections
      yield* consumer.resume
      yield* pass(10_000)
      yield* send("2")
      assert.deepStrictEqual([yield* tags, seen], [["Attached"], ["1", "2"]])
    })).pipe(Effect.provide(logging([]))))

  it.effect("is paused once and resumed once, however often it is asked", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const consumer = yield* AmqpConsumer.make(work, () => Effect.void)
      for (let i = 0; i < 3; i++) yield* consumer.resume
      for (let i = 0; i < 3; i++) yield* consumer.pause
      for (let i = 0; i < 3; i++) yield* consumer.resume
      yield* settled
      assert.strictEqual((yield* broker.queue("work"))?.consumers, 1)
      assert.deepStrictEqual(yield* tags, ["Attached"])
    })))

  it.effect("ends in order with its scope", () =>
    onMemory(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const consumer = yield* Scope.provide(AmqpConsumer.make(work, () => Effect.void), scope)
      yield* consumer.pause
      yield* Scope.close(scope, Exit.void)
      yield* consumer.resume
      yield* settled
      assert.deepStrictEqual(yield* consumers, [])
    })))

  it.effect("handles what has come where nothing is acknowledged, because the broker does not send it again", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<string> = []
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.flatMap(
            delivery.text,
            (text) => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => seen.push(text)))
          ),
        { noAck: true }
      )
      yield* send("1", "2", "3")
      yield* consumer.pause
      yield* pass(5000)
      assert.deepStrictEqual(seen, ["1", "2", "3"])
    })))

  it.effect("that keeps the order waits for its handler before it lets another one have the queue", () =>
    onMemory(Effect.gen(function*() {
      const ordered = AmqpTopology.queue("ordered", { singleActiveConsumer: true })
      yield* AmqpTopology.declare(AmqpTopology.make(ordered))
      const seen: Array<string> = []
      const handler = (who: string, millis: number) => (delivery: { readonly text: Effect.Effect<string, unknown> }) =>
        Effect.flatMap(
          delivery.text,
          (text) => Effect.andThen(Effect.sync(() => seen.push(`${who}${text}`)), Effect.sleep(millis))
        )
      const first = yield* AmqpConsumer.make(ordered, handler("a", 2000), { prefetch: 3 })
      yield* AmqpConsumer.make(ordered, handler("b", 1), { prefetch: 3 })
      for (const body of ["1", "2", "3", "4"]) yield* sendOrdered(body)
      const pausing = yield* Effect.forkChild(first.pause, { startImmediately: true })
      yield* pass(1000)
      assert.deepStrictEqual(seen, ["a1"])
      yield* pass(5000)
      yield* Fiber.join(pausing)
      assert.deepStrictEqual(seen, ["a1", "b2", "b3", "b4"])
    })))
})

const sendOrdered = (body: string) => sendWith({ routingKey: "ordered" }, body)

class DatabaseDown extends Data.TaggedError("DatabaseDown") {}

describe("a consumer behind a circuit breaker", () => {
  it.effect("asks a broken database once for each open time, and loses and counts no message meanwhile", () =>
    onMemory(Effect.gen(function*() {
      let isDown = true
      let asked = 0
      const stored: Array<string> = []
      const store = (text: string) =>
        Effect.suspend(() => {
          asked++
          if (isDown) return Effect.fail(new DatabaseDown())
          stored.push(text)
          return Effect.void
        })

      const breaker = yield* CircuitBreaker.make({
        tripPolicy: CircuitBreaker.consecutive(3),
        openDuration: "30 seconds"
      })
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.flatMap(delivery.text, (text) =>
            store(text).pipe(
              breaker.execute({ key: "database" }),
              // What is rejected waits, and one of those that wait tries the database when the time is over.
              Effect.retry({
                schedule: Schedule.spaced("1 second"),
                while: (error) => error instanceof CircuitBreaker.CircuitBreakerError
              })
            )),
        { concurrency: 4, onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("5 seconds"), { times: 100 })) }
      )
      yield* breaker.transitions.pipe(
        Stream.filter((transition) => transition.to === "Open"),
        Stream.runForEach(({ retryAfter }) =>
          Effect.andThen(consumer.pause, Effect.delay(consumer.resume, retryAfter))
        ),
        Effect.forkScoped
      )

      yield* send(...Array.from({ length: 20 }, (_, i) => String(i)))
      yield* pass(20_000)
      assert.deepStrictEqual(yield* tags, ["Paused"])
      yield* pass(70_000)
      assert.isAtMost(asked, 8)
      isDown = false
      yield* pass(120_000)
      assert.sameMembers(stored, Array.from({ length: 20 }, (_, i) => String(i)))
      assert.deepStrictEqual(yield* tags, ["Attached"])
      assert.deepInclude(yield* consumer.counts, { deadLettered: 0, dropped: 0, parked: 0 })
      assert.deepStrictEqual([yield* ready("work"), yield* ready("work.parked"), yield* ready("dead")], [0, 0, 0])
    })).pipe(Effect.provide([logging([]), CircuitBreaker.layerStoreMemory()])))
})
