import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer } from "effect"
import { AmqpChannel, AmqpConnection, AmqpMessage, AmqpPublisher, AmqpStream } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { append, appendWith, bodyOf, log, makeStore, noting, onMemory, read } from "../support/Reading.ts"

const versions = ["3.10", "4.0", "4.3"] as const

describe("a reader that filters", () => {
  it.effect("handles what is wanted, and goes on behind what is not, on every version", () =>
    Effect.forEach(versions, (version) => {
      const store = makeStore()
      return onMemory(
        Effect.gen(function*() {
          const handled: Array<string> = []
          const unfiltered: Array<string> = []
          yield* appendWith({ "x-stream-filter-value": "eu" }, "a", "b")
          yield* appendWith({ "x-stream-filter-value": "us" }, "c")
          yield* append("d")
          yield* appendWith({ "x-stream-filter-value": "asia" }, "e")
          const reader = yield* read(noting(handled), { filter: ["eu", "asia"] })
          yield* read(noting(unfiltered), { group: "other", filter: "us", matchUnfiltered: true })
          yield* settled
          assert.deepStrictEqual([handled, unfiltered], [["a", "b", "e"], ["c", "d"]], version)
          assert.strictEqual(yield* reader.offset, 5)
        }),
        { broker: AmqpMemory.layerWith({ version }), store }
      )
    }))
})

describe("a stream that was made again under the same name", () => {
  const remake = Effect.scoped(Effect.gen(function*() {
    const channel = yield* AmqpChannel.make()
    yield* channel.deleteQueue(log)
    yield* channel.declareQueue(log)
  }))

  it.effect("is read from its first message by a reader that comes back", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<string> = []
      yield* append("a", "b", "c")
      yield* read(noting(handled))
      yield* settled
      yield* remake
      yield* append("d")
      yield* pass(20_000)
      yield* append("e")
      yield* settled
      assert.deepStrictEqual(handled, ["a", "b", "c", "d", "e"])
    })))

  it.effect("is read from its first message by the next process", () => {
    const store = makeStore({ "billing log": 5000 })
    return onMemory(
      Effect.gen(function*() {
        const handled: Array<string> = []
        yield* append("a", "b")
        yield* Effect.forkScoped(Effect.andThen(read(noting(handled), { from: "next" }), Effect.never))
        yield* pass(20_000)
        yield* append("c")
        assert.deepStrictEqual(handled, ["a", "b", "c"])
      }),
      { store }
    )
  })
})

describe("a reader", () => {
  it.effect("outlives the acknowledgement timeout of a message that is tried again for long, and repeats nothing", () =>
    onMemory(
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.setAckTimeout("30 seconds")
        const handled: Array<string> = []
        let attempts = 0
        yield* append("a", "b", "c")
        const reader = yield* read((delivery) =>
          Effect.suspend(() => {
            if (bodyOf(delivery) === "b" && ++attempts < 20) return Effect.fail("not yet")
            return noting(handled)(delivery)
          }), { ackTimeout: "30 seconds" })
        yield* pass(900_000, 1000)
        assert.deepStrictEqual(handled, ["a", "b", "c"])
        assert.strictEqual(yield* reader.offset, 3)
      })
    ))

  it.effect("that is paused goes on where it was", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<string> = []
      const reader = yield* read((delivery) => Effect.andThen(Effect.sleep("1 second"), noting(handled)(delivery)))
      yield* append("a", "b", "c", "d")
      yield* pass(1500)
      yield* reader.pause
      assert.strictEqual((yield* reader.health)._tag, "Paused")
      yield* pass(10_000)
      assert.deepStrictEqual(handled, ["a", "b"])
      yield* reader.resume
      yield* pass(5000)
      assert.deepStrictEqual(handled, ["a", "b", "c", "d"])
    })))

  it.effect("keeps the order of each key, whatever its concurrency, and its offset below all that is open", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<string> = []
      const reader = yield* read(
        (delivery) => Effect.andThen(Effect.sleep(bodyOf(delivery) === "a1" ? 5000 : 1000), noting(handled)(delivery)),
        { concurrency: 4, orderedBy: (delivery) => bodyOf(delivery)[0]! }
      )
      yield* append("a1", "b1", "a2", "b2", "c1")
      yield* pass(3000)
      assert.deepStrictEqual(handled, ["b1", "c1", "b2"])
      assert.strictEqual(yield* reader.offset, 0)
      yield* pass(4000)
      assert.deepStrictEqual(handled, ["b1", "c1", "b2", "a1", "a2"])
      assert.strictEqual(yield* reader.offset, 5)
    })))

  it.effect("is a layer, which fails with the name of a stream that is missing", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(
        AmqpStream.layer("nowhere", () => Effect.void, { group: "g" }).pipe(
          Layer.provide(AmqpStream.storeInQueue),
          Layer.provide(AmqpConnection.layer())
        )
      )))
      assert.isTrue(exit._tag === "Failure" && Cause.pretty(exit.cause).includes("\"nowhere\""))
    }).pipe(Effect.provide(AmqpMemory.layer)))
})

describe("a message with a filter value", () => {
  it.effect("that is no text is refused before the wire, where RabbitMQ closes the connection", () =>
    onMemory(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      for (const value of [5, true, null, ["eu"]]) {
        const error = yield* Effect.flip(
          publisher.publish({ routingKey: "log", body: "", headers: { "x-stream-filter-value": value } })
        )
        assert.include(error.message, "x-stream-filter-value")
        assert.strictEqual(error.reason._tag, "InvalidMessage")
      }
    })))

  it.effect("that is sent on goes without the offset that it had", () =>
    onMemory(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const headers: Array<AmqpMessage.Headers> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const channel = yield* AmqpChannel.make()
        yield* channel.declareQueue({ name: "copies" })
        yield* appendWith({ "x-stream-filter-value": "eu" }, "a")
        yield* read((delivery) => publisher.publish(AmqpMessage.forward(delivery, { routingKey: "copies" })))
        yield* settled
        const found = yield* channel.get("copies", { noAck: true })
        if (found._tag === "Some") headers.push({ ...found.value.headers })
      }))
      assert.deepStrictEqual(headers, [{ "x-stream-filter-value": "eu" }])
    })))
})
