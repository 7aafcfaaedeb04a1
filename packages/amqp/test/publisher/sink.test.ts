import { assert, describe, it } from "@effect/vitest"
import type { Cause } from "effect"
import { Effect, Exit, Fiber, Queue, Stream } from "effect"
import { AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, depth, paid } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher.sink", () => {
  const rows = (count: number) => Stream.map(Stream.range(0, count - 1), (i) => paid(i))

  it.effect("publishes a stream, and gives the number of confirmed messages", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const running = yield* begin(Stream.run(rows(1000), publisher.sink({ inFlight: 100 })))
      yield* Virtual.settle
      assert.strictEqual(yield* Fiber.join(running), 1000)
      assert.strictEqual(yield* depth(), 1000)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("pulls the stream no further than its window", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      let pulled = 0
      yield* broker.withholdConfirms
      const running = yield* begin(
        Stream.fromEffectRepeat(Effect.sync(() => paid(pulled++))).pipe(
          Stream.take(100),
          Stream.run(publisher.sink({ inFlight: 10 }))
        )
      )
      yield* Virtual.settle
      assert.isAtMost(pulled, 12)
      yield* broker.releaseConfirms
      yield* Virtual.settle
      assert.strictEqual(yield* Fiber.join(running), 100)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("of a whole chunk encodes no more than its window, and rechunked makes no more bodies", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* broker.withholdConfirms
      let made = 0
      const encoded = new Set<number>()
      const bodies = (numbers: Stream.Stream<number>) =>
        Stream.map(numbers, (i) => {
          made++
          return paid({ toJSON: () => (encoded.add(i), i) })
        })
      const sending = Effect.fnUntraced(function*(messages: ReturnType<typeof bodies>) {
        made = 0
        encoded.clear()
        const running = yield* begin(Stream.run(messages, publisher.sink({ inFlight: 10 })))
        yield* Virtual.settle
        const counted = { made, encoded: encoded.size }
        yield* Fiber.interrupt(running)
        return counted
      })
      const numbers = Stream.range(1, 4096)
      assert.deepStrictEqual(yield* sending(bodies(numbers)), { made: 4096, encoded: 10 })
      assert.deepStrictEqual(yield* sending(bodies(Stream.rechunk(numbers, 10))), { made: 20, encoded: 10 })
      yield* broker.releaseConfirms
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("ends with the failure of a message", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const error = yield* Effect.flip(
        Stream.make(paid(1), paid(2, { routingKey: "nobody" }), paid(3)).pipe(Stream.run(publisher.sink()))
      )
      assert.strictEqual(error.reason._tag, "Unroutable")
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("goes on when failures are handed to somebody", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const failures: Array<number> = []
      const confirmed = yield* Stream.range(0, 9).pipe(
        Stream.map((i) => paid(i, { routingKey: i % 5 === 0 ? "nobody" : "paid" })),
        Stream.run(publisher.sink({
          inFlight: 3,
          onFailure: (failure) => Effect.sync(() => failures.push(failure.index))
        }))
      )
      assert.strictEqual(confirmed, 8)
      assert.deepStrictEqual(failures.sort(), [0, 5])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("ends with the failure of a message although the stream has nothing more for now", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const quiet = Stream.concat(Stream.make(paid("x", { routingKey: "nobody" })), Stream.never)
      const error = yield* begin(Effect.flip(Stream.run(quiet, publisher.sink())))
      yield* Virtual.settle
      assert.isDefined(error.pollUnsafe())
      assert.strictEqual((yield* Fiber.join(error)).reason._tag, "Unroutable")
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("does not take the end of a queue that onFailure reads for the end of the stream", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const ended = yield* Queue.unbounded<void, Cause.Done>()
      yield* Queue.end(ended)
      const messages = Stream.map(
        Stream.range(1, 100),
        (body) => paid(body, { routingKey: body === 1 ? "nobody" : "paid" })
      )
      const sink = publisher.sink({ inFlight: 5, onFailure: () => Queue.take(ended) })
      const running = yield* begin(Effect.exit(Stream.run(messages, sink)))
      yield* Virtual.settle
      assert.isTrue(Exit.isFailure(yield* Fiber.join(running)))
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("an outage delays a stream and loses none of it", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* TestClock.adjust("10 seconds")
      yield* broker.withholdConfirms
      const running = yield* begin(Stream.run(rows(300), publisher.sink({ inFlight: 50 })))
      yield* broker.refuseConnects(2)
      yield* broker.cutConnections
      yield* broker.releaseConfirms
      yield* Virtual.settle
      yield* TestClock.adjust("3 seconds")
      yield* Virtual.settle
      assert.strictEqual(yield* Fiber.join(running), 300)
      const found = new Set((yield* broker.published).map((record) => Buffer.from(record.body).toString()))
      assert.strictEqual(found.size, 300)
    }).pipe(Effect.provide(Virtual.layer())))
})
