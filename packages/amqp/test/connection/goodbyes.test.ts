import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber } from "effect"
import { AmqpChannel, AmqpConnection } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { TestClock } from "effect/testing"
import { Goodbyes } from "../../src/internal/connection/goodbyes.ts"

const make = Effect.map(Clock.Clock, (clock) => new Goodbyes(clock, Duration.seconds(5)))

/** Says goodbyes one after the other, of a broker that answers each after so long; returns how many were given up. */
const says = Effect.fnUntraced(function*(goodbyes: Goodbyes, count: number, answer: Effect.Effect<void>) {
  let givenUp = 0
  const fiber = yield* Effect.forkChild(
    Effect.repeat(goodbyes.say(answer, () => givenUp++), { times: count - 1 }),
    { startImmediately: true }
  )
  return { fiber, givenUp: () => givenUp }
})

describe("the goodbyes of a connection", () => {
  it.effect("wait for one deadline together when the broker reads none of them", () =>
    Effect.gen(function*() {
      const { fiber, givenUp } = yield* says(yield* make, 6, Effect.never)
      yield* TestClock.adjust(4999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      assert.strictEqual(givenUp(), 6)
    }))

  it.effect("wait for one deadline together when the broker takes seconds for each", () =>
    Effect.gen(function*() {
      const { fiber, givenUp } = yield* says(yield* make, 6, Effect.sleep("2 seconds"))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
      assert.strictEqual(givenUp(), 4)
    }))

  it.effect("are not bounded together when the broker answers promptly, one by one or many at once", () =>
    Effect.gen(function*() {
      const goodbyes = yield* make
      const alone = yield* says(goodbyes, 200, Effect.sleep("100 millis"))
      const others = yield* Effect.forEach(
        [30, 70, 900],
        (millis) => says(goodbyes, Math.floor(20_000 / millis), Effect.sleep(millis))
      )
      yield* TestClock.adjust("20 seconds")
      for (const { fiber, givenUp } of [alone, ...others]) {
        yield* Fiber.join(fiber)
        assert.strictEqual(givenUp(), 0)
      }
    }))

  it.effect("have a deadline of their own when they begin later", () =>
    Effect.gen(function*() {
      const goodbyes = yield* make
      const first = yield* says(goodbyes, 1, Effect.never)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(first.fiber)
      yield* TestClock.adjust(1001)
      const second = yield* says(goodbyes, 1, Effect.sleep("4 seconds"))
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(second.fiber)
      assert.strictEqual(second.givenUp(), 0)
    }))

  it.effect("cost no connection of a program that closes channels again and again", () =>
    Effect.gen(function*() {
      const connection = yield* AmqpConnection.AmqpConnection
      const polling = yield* Effect.forkChild(
        Effect.repeat(Effect.andThen(Effect.scoped(AmqpChannel.make()), Effect.sleep("500 millis")), { times: 39 })
      )
      yield* pass(20_000, 500)
      yield* Fiber.join(polling)
      const { sessions } = yield* connection.health
      assert.deepStrictEqual(
        sessions.map((state) => state._tag === "Connected" ? state.epoch : state._tag),
        sessions.map((state) => state._tag === "Connected" ? 1 : "Idle")
      )
    }).pipe(Effect.provide(AmqpConnection.layer()), Effect.provide(AmqpMemory.layer)))
})
