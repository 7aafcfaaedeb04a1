import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Schedule, Scope } from "effect"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpChannel, AmqpConsumer, AmqpPublisher, AmqpStream, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { append, bodyOf, makeStore, noting, onMemory, read } from "../support/Reading.ts"

/** Fails at the first attempts at "b", and notes every attempt. */
const failing = (attempts: Array<string>, times: number, failure: Effect.Effect<never, string> = Effect.fail("no")) => {
  let failed = 0
  return (delivery: AmqpDelivery.Delivery) =>
    Effect.suspend(() => {
      attempts.push(bodyOf(delivery))
      return bodyOf(delivery) === "b" && failed++ < times ? failure : Effect.void
    })
}

const dead = AmqpTopology.queue("dead", { type: "quorum" })

const withDead = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  onMemory(
    test.pipe(
      Effect.provide(AmqpTopology.layer(AmqpTopology.make(dead))),
      Effect.provide(AmqpChannel.layer())
    )
  )

const takeDead = Effect.flatMap(
  AmqpChannel.AmqpChannel,
  (channel) =>
    Effect.map(channel.get("dead", { noAck: true }), (found) => {
      if (found._tag === "None") throw new Error("nothing is dead-lettered")
      return found.value
    })
)

describe("a message of a stream whose handler fails", () => {
  it.effect("is tried again in place, and nothing overtakes it", () =>
    onMemory(Effect.gen(function*() {
      const attempts: Array<string> = []
      yield* append("a", "b", "c")
      const reader = yield* read(failing(attempts, 2))
      yield* settled
      assert.deepStrictEqual(attempts, ["a", "b"])
      assert.strictEqual(yield* reader.offset, 1)
      yield* pass(1000)
      assert.deepStrictEqual(attempts, ["a", "b", "b"])
      yield* pass(2000)
      assert.deepStrictEqual(attempts, ["a", "b", "b", "b", "c"])
      assert.strictEqual(yield* reader.offset, 3)
    })))

  it.effect("is tried again for ever unless its policy says otherwise, also when its handler dies or interrupts itself", () =>
    Effect.forEach(
      [Effect.fail("no"), Effect.die("no"), Effect.interrupt],
      (failure) =>
        onMemory(Effect.gen(function*() {
          const attempts: Array<string> = []
          yield* append("a", "b", "c")
          yield* read(failing(attempts, 100, failure))
          yield* pass(3600_000, 10_000)
          // After 1, 2, 4, 8 and 16 seconds, then each 30 seconds.
          assert.isAbove(attempts.length, 100)
          assert.strictEqual(attempts.at(-1), "c")
        }))
    ))

  it.effect("is passed over where the policy says so", () =>
    Effect.forEach(
      [
        "drop" as const,
        () => "drop" as const,
        AmqpStream.retry(Schedule.recurs(0), { exhausted: "drop" })
      ],
      (onFailure) =>
        onMemory(Effect.gen(function*() {
          const attempts: Array<string> = []
          yield* append("a", "b", "c")
          const reader = yield* read(failing(attempts, 100), { onFailure })
          yield* settled
          assert.deepStrictEqual(attempts, ["a", "b", "c"])
          assert.strictEqual(yield* reader.offset, 3)
          assert.strictEqual((yield* reader.counts).dropped, 1)
        }))
    ))

  it.effect("is copied to where the option says, with why and from where, before the reader goes on", () =>
    withDead(Effect.gen(function*() {
      const attempts: Array<string> = []
      yield* append("a", "b", "c")
      const reader = yield* read(failing(attempts, 100), {
        onFailure: AmqpStream.retry(Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 2 }))),
        deadLetterTo: dead
      })
      yield* pass(2000)
      assert.deepStrictEqual(attempts, ["a", "b", "b", "b", "c"])
      assert.strictEqual((yield* reader.counts).deadLettered, 1)
      const copy = yield* takeDead
      assert.strictEqual(bodyOf(copy), "b")
      const headers = copy.headers
      assert.deepInclude(headers, {
        "x-parked-reason": "no",
        "x-parked-attempts": 3,
        "x-parked-stream": "log",
        "x-parked-offset": 1
      })
      assert.isUndefined(headers["x-stream-offset"])
    })))

  it.effect("waits until its copy is confirmed", () =>
    onMemory(Effect.gen(function*() {
      const attempts: Array<string> = []
      yield* append("a", "b", "c")
      const reader = yield* read(failing(attempts, 100), { onFailure: "deadLetter", deadLetterTo: "dead" })
      yield* pass(10_000)
      assert.deepStrictEqual(attempts, ["a", "b"])
      assert.strictEqual(yield* reader.offset, 1)
      yield* Effect.scoped(Effect.gen(function*() {
        const channel = yield* AmqpChannel.make()
        yield* channel.declareQueue({ name: "dead" })
      }))
      yield* pass(2000)
      assert.deepStrictEqual(attempts, ["a", "b", "c"])
      const broker = yield* AmqpMemory.AmqpMemory
      assert.strictEqual(yield* broker.depth("dead"), 1)
    })))

  it.effect("goes where its handler decides", () =>
    withDead(Effect.gen(function*() {
      yield* append("a", "b", "c")
      const reader = yield* read(
        (delivery) => bodyOf(delivery) === "a" ? AmqpConsumer.deadLetter : AmqpConsumer.drop,
        { deadLetterTo: dead }
      )
      yield* pass(100)
      assert.strictEqual(yield* reader.offset, 3)
      const counts = yield* reader.counts
      assert.deepStrictEqual([counts.deadLettered, counts.dropped], [1, 2])
      assert.strictEqual(bodyOf(yield* takeDead), "a")
    })))

  it.effect("goes to dead letters if its handler dies and its policy is a function", () =>
    withDead(Effect.gen(function*() {
      yield* append("a", "b", "c")
      const attempts: Array<string> = []
      yield* read(failing(attempts, 1, Effect.die("bug")), { onFailure: () => "drop", deadLetterTo: dead })
      yield* pass(100)
      assert.strictEqual(bodyOf(yield* takeDead), "b")
      assert.deepStrictEqual(attempts, ["a", "b", "c"])
    })))

  it.effect("is tried again when its policy dies", () =>
    onMemory(Effect.gen(function*() {
      yield* append("a", "b", "c")
      const attempts: Array<string> = []
      yield* read(failing(attempts, 2), {
        onFailure: () => {
          throw new Error("a policy's own fault")
        }
      })
      yield* pass(10_000)
      assert.deepStrictEqual(attempts, ["a", "b", "b", "b", "c"])
    })))

  it.effect("keeps its schedule, although the policy makes it anew for each failure", () =>
    onMemory(Effect.gen(function*() {
      yield* append("a", "b", "c")
      const attempts: Array<string> = []
      yield* read(failing(attempts, 100), {
        onFailure: () =>
          AmqpStream.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 3 })), { exhausted: "drop" })
      })
      yield* pass(6999)
      assert.deepStrictEqual(attempts, ["a", "b", "b", "b"])
      yield* pass(1)
      assert.deepStrictEqual(attempts, ["a", "b", "b", "b", "b", "c"])
    })))

  it.effect("is left to the next reader by one that ends, which does not wait for the next attempt", () => {
    const store = makeStore()
    return onMemory(
      Effect.gen(function*() {
        yield* append("a", "b", "c")
        const scope = yield* Scope.make()
        yield* Scope.provide(read(failing([], 100)), scope)
        yield* pass(20_000)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(store.saves.at(-1), 1)
        const handled: Array<string> = []
        yield* read(noting(handled))
        yield* settled
        assert.deepStrictEqual(handled, ["b", "c"])
      }),
      { store }
    )
  })

  it.effect("fails with HandlerTimeout at each attempt that runs too long", () =>
    onMemory(Effect.gen(function*() {
      const errors: Array<string> = []
      yield* append("a")
      yield* read(() => Effect.never, {
        handlerTimeout: "5 seconds",
        onFailure: (error) => {
          errors.push((error as AmqpConsumer.HandlerTimeout)._tag)
          return AmqpStream.retry(Schedule.recurs(1), { exhausted: "drop" })
        }
      })
      yield* pass(11_000)
      assert.deepStrictEqual(errors, ["HandlerTimeout", "HandlerTimeout"])
    })))
})

describe("a reader refuses", () => {
  const refused = (options: Parameters<typeof read>[1], option: string, detail: string) =>
    onMemory(Effect.gen(function*() {
      const exit = yield* Effect.exit(read(() => Effect.void, options))
      const text = Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it succeeded"
      assert.include(text, detail)
      assert.include(text, option)
    }))

  it.effect("dead letters without a place for them", () =>
    refused({ onFailure: "deadLetter" }, "onFailure", "say with deadLetterTo where copies go"))
  it.effect("a group without a name", () => refused({ group: "" }, "group", "it is empty"))
  it.effect("an offset below 0", () => refused({ from: -1 }, "from", "an offset from 0"))
  it.effect("a filter of nothing, at which RabbitMQ closes the connection", () =>
    refused({ filter: [] }, "x-stream-filter", "a list of texts that is not empty"))

  it.effect("a queue value that is no stream", () =>
    onMemory(Effect.gen(function*() {
      const error = yield* Effect.flip(AmqpStream.make(dead, () => Effect.void, { group: "g" }))
      assert.include(error.message, "\"dead\" is not a stream; declare it with { type: \"stream\" }")
    })))

  it.effect("a queue by name whose messages have no offsets, and takes none of them", () =>
    withDead(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const broker = yield* AmqpMemory.AmqpMemory
      const handled: Array<string> = []
      yield* publisher.publish({ routingKey: "dead", body: "a" })
      yield* publisher.publish({ routingKey: "dead", body: "b" })
      const make = AmqpStream.make("dead", noting(handled), { group: "g" })
      const error = yield* Effect.flip(Effect.scoped(make))
      assert.include(error.message, "\"dead\" is not a stream, whose messages have offsets")
      yield* settled
      assert.deepStrictEqual(handled, [])
      assert.strictEqual(yield* broker.depth("dead"), 2)
    })))
})
