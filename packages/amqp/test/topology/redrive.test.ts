import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Option, Schedule } from "effect"
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpMessage,
  AmqpPublisher,
  AmqpRedrive,
  AmqpTopology
} from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { TestClock } from "effect/testing"

const work = AmqpTopology.queue("work")
const other = AmqpTopology.queue("other")
const parked = AmqpTopology.queue("parked", { type: "quorum", deliveryLimit: 3 })
const connectedTo = (version: AmqpMemory.BrokerVersion) =>
  Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(work, other, parked))),
    Layer.provideMerge(AmqpConnection.layer()),
    Layer.provideMerge(AmqpMemory.layerWith({ version }))
  )

const run = <A, E, R>(test: Effect.Effect<A, E, R>, version: AmqpMemory.BrokerVersion = "4.0") =>
  test.pipe(Effect.scoped, Effect.provide(connectedTo(version)))

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => String(from + n))

const send = (queue: string, count: number, headers: AmqpMessage.Headers = {}) =>
  Effect.flatMap(
    AmqpPublisher.AmqpPublisher,
    (publisher) =>
      publisher.publishAll(Array.from({ length: count }, (_, n) => ({ routingKey: queue, body: String(n), headers })))
  )

/** Let virtual time pass until an effect is done. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.forkChild(
      Effect.flatMap(effect, (value) => Effect.map(Clock.currentTimeMillis, (end) => ({ value, millis: end - start }))),
      { startImmediately: true }
    )
    for (let steps = 0; fiber.pollUnsafe() === undefined && steps < 20_000; steps++) {
      yield* TestClock.adjust("10 millis")
    }
    assert.isDefined(fiber.pollUnsafe(), "it took more than 200 seconds")
    return yield* Fiber.join(fiber)
  })

const redrive = (...options: Parameters<typeof AmqpRedrive.redrive>) =>
  Effect.map(timed(AmqpRedrive.redrive(...options)), ({ value }) => value)

/** Read what is in a queue. */
const read = Effect.fnUntraced(function*(queue: string) {
  const channel = yield* AmqpChannel.AmqpChannel
  const bodies: Array<string> = []
  for (;;) {
    const delivery = yield* channel.get(queue, { noAck: true })
    if (Option.isNone(delivery)) return bodies
    bodies.push(yield* delivery.value.text)
  }
})

describe("redrive", () => {
  it.effect("moves what a retry has parked back to its queue, where its attempts begin anew", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      let isMended = false
      const handled: Array<readonly [string, number]> = []
      yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.flatMap(delivery.text, (text) =>
            isMended
              ? Effect.sync(() => handled.push([text, delivery.attempts]))
              : Effect.fail("the database is away")),
        { onFailure: AmqpConsumer.retry(Schedule.recurs(1)) }
      )
      yield* send("work", 3)
      yield* pass(5000)
      assert.strictEqual(yield* broker.depth("work.parked"), 3)
      isMended = true
      assert.deepStrictEqual(yield* redrive("work.parked"), { moved: 3, kept: 0 })
      assert.strictEqual(yield* broker.depth("work.parked"), 0)
      yield* pass(1000)
      assert.deepStrictEqual(handled, [["0", 1], ["1", 1], ["2", 1]])
    })))

  it.effect("moves in order, to the queue that it is told", () =>
    run(Effect.gen(function*() {
      yield* send("work", 1200)
      assert.deepStrictEqual(yield* redrive(work, { to: other }), { moved: 1200, kept: 0 })
      assert.deepStrictEqual(yield* read("work"), [])
      assert.deepStrictEqual(yield* read("other"), Array.from({ length: 1200 }, (_, n) => String(n)))
    })))

  it.effect("keeps what it is not to move, in its order", () =>
    run(Effect.gen(function*() {
      yield* send("work", 2, { kind: "a" })
      yield* send("work", 700, { kind: "b" })
      yield* send("work", 2, { kind: "a" })
      const outcome = yield* redrive(work, { to: other, where: ({ headers }) => headers["kind"] === "a" })
      assert.deepStrictEqual(outcome, { moved: 4, kept: 700 })
      assert.deepStrictEqual(yield* read("other"), ["0", "1", "0", "1"])
      assert.deepStrictEqual(yield* read("work"), Array.from({ length: 700 }, (_, n) => String(n)))
    })))

  it.effect("moves no more than it is told, and keeps what says nothing of its queue", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* send("work", 10)
      assert.deepStrictEqual(yield* redrive(work, { to: other, max: 4 }), { moved: 4, kept: 0 })
      assert.deepStrictEqual(yield* redrive(work), { moved: 0, kept: 6 })
      assert.deepStrictEqual([yield* broker.depth("work"), yield* broker.depth("other")], [6, 4])
    })))

  it.effect("moves what was there at the start once, even into the same queue", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* send("work", 20)
      assert.deepStrictEqual(yield* redrive(work, { to: work }), { moved: 20, kept: 0 })
      assert.strictEqual(yield* broker.depth("work"), 20)
    })))

  for (const version of ["3.10", "4.0", "4.3"] as const) {
    it.effect(`takes no more of a quorum queue than it moves, which would put the rest behind: ${version}`, () =>
      run(
        Effect.gen(function*() {
          yield* send("parked", 1200)
          for (const from of [0, 200]) {
            assert.deepStrictEqual(yield* redrive(parked, { to: other, max: 200, inFlight: 50 }), {
              moved: 200,
              kept: 0
            })
            assert.deepStrictEqual(yield* read("other"), numbers(from, from + 200))
          }
          assert.deepStrictEqual(yield* redrive(parked, { to: parked }), { moved: 800, kept: 0 })
          assert.deepStrictEqual(yield* read("parked"), [...numbers(400, 1200)])
        }),
        version
      ))
  }

  it.effect("counts no delivery of what it keeps since RabbitMQ 4.3", () =>
    run(
      Effect.gen(function*() {
        yield* send("parked", 30)
        for (let look = 0; look < 10; look++) {
          assert.deepStrictEqual(yield* redrive(parked, { to: other, where: () => false }), { moved: 0, kept: 30 })
        }
        assert.deepStrictEqual(yield* read("parked"), numbers(0, 30))
      }),
      "4.3"
    ))

  it.effect("leaves in the queue what cannot be published, and says why", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* send("work", 20)
      const { value: error } = yield* timed(Effect.flip(AmqpRedrive.redrive(work, { to: "nowhere" })))
      assert.strictEqual(error.reason._tag, "Unroutable")
      yield* pass(2000)
      assert.strictEqual(yield* broker.depth("work"), 20)
    })))

  it.effect("ends at once where there is nothing, and fails where there is no queue", () =>
    run(Effect.gen(function*() {
      const { millis, value } = yield* timed(AmqpRedrive.redrive(work))
      assert.deepStrictEqual(value, { moved: 0, kept: 0 })
      assert.isAtMost(millis, 10)
      assert.strictEqual((yield* Effect.flip(AmqpRedrive.redrive("nowhere"))).reason._tag, "NotFound")
      const refused = yield* Effect.flip(AmqpRedrive.redrive(work, { inFlight: 0 }))
      assert.strictEqual(refused.reason._tag, "InvalidConfiguration")
    })))

  it.effect("is twenty times as fast as getting messages one by one", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const channel = yield* AmqpChannel.AmqpChannel
      yield* send("work", 400)
      yield* broker.setLatency("10 millis")
      const oneByOne = yield* timed(Effect.gen(function*() {
        for (let n = 0; n < 200; n++) {
          const delivery = Option.getOrThrow(yield* channel.get(work))
          yield* publisher.publish(AmqpMessage.forward(delivery, { routingKey: "other" }))
          yield* delivery.ack()
        }
      }))
      const inBulk = yield* timed(AmqpRedrive.redrive(work, { to: other }))
      yield* broker.setLatency(0)
      assert.strictEqual(inBulk.value.moved, 200)
      assert.isAtLeast(oneByOne.millis / inBulk.millis, 20)
    })))
})
