import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Amqp from "../src/Amqp.ts"
import * as HelloWorld from "../src/HelloWorld.ts"
import * as Outage from "../src/Outage.ts"
import type { Event } from "../src/Reporter.ts"
import { Reporter } from "../src/Reporter.ts"

/** The program over the embedded broker, in virtual time, with all that it reports. */
const start = Effect.fnUntraced(function*(options: {
  readonly count: number
  readonly retryMax?: number
  readonly halfway?: Effect.Effect<void, never, AmqpMemory.AmqpMemory>
}) {
  const events: Array<Event> = []
  const retry = { retryInterval: "1 second", retryMax: options.retryMax ?? 100 } as const
  const fiber = yield* HelloWorld.run({
    ...retry,
    count: options.count,
    interval: "100 millis",
    halfway: options.halfway ?? Effect.void
  }).pipe(
    Effect.provide(Amqp.layer({ ...retry, confirmTimeout: "1 second" }, AmqpTopology.layer(HelloWorld.topology))),
    Effect.provideService(Reporter, { report: (event) => Effect.sync(() => events.push(event)) }),
    Effect.forkChild({ startImmediately: true })
  )
  // Connecting takes turns of the scheduler but no time; the clock must not be ahead of it.
  yield* Effect.repeat(Effect.yieldNow, { times: 50 })
  return { events, fiber }
})

const tagsOf = (events: ReadonlyArray<Event>) =>
  events.filter((event) => "message" in event).map((event) => `${event._tag} ${event.message.body}`)

const statesOf = (events: ReadonlyArray<Event>) =>
  events.filter((event) => event._tag === "ConnectionChanged").map(({ state }) =>
    state._tag === "Reconnecting" ? `Reconnecting ${state.attempt}` : state._tag
  )

const confirmations = (count: number) => Array.from({ length: count }, (_, n) => `Confirmed Hello World! - ${n}`)

describe("HelloWorld", () => {
  it.effect("confirms every message, in order, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({ count: 100 })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(tagsOf(events), confirmations(100))
      assert.deepStrictEqual(statesOf(events), ["Connected", "Closed"])
      assert.strictEqual(yield* broker.depth("my_queue"), 100)
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("confirms every message through an outage", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({ count: 100, halfway: Outage.begin })
      yield* TestClock.adjust("20 seconds")
      yield* Fiber.join(fiber)
      const messages = tagsOf(events)
      assert.deepStrictEqual(messages.filter((tag) => tag.startsWith("Confirmed")), confirmations(100))
      assert.include(messages, "PublishingAgain Hello World! - 50")
      assert.deepStrictEqual(statesOf(events), [
        "Connected",
        "Reconnecting 1",
        "Reconnecting 2",
        "Reconnecting 3",
        "Reconnecting 4",
        "Connected",
        "Closed"
      ])
      assert.strictEqual(yield* broker.depth("my_queue"), 100)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("publishes a message again, with the same id, after a failure that heals", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({ count: 3, halfway: broker.loseConfirms(1) })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(tagsOf(events), [
        "Confirmed Hello World! - 0",
        "PublishingAgain Hello World! - 1",
        "Confirmed Hello World! - 1",
        "Confirmed Hello World! - 2"
      ])
      const ids = (yield* broker.published).map((record) => record.messageId)
      assert.lengthOf(ids, 4)
      assert.strictEqual(ids[1], ids[2])
      assert.strictEqual(new Set(ids).size, 3)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("counts a message as failed, and goes on, after a failure that does not heal", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({ count: 3, halfway: broker.returnPublishes(1) })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(tagsOf(events), [
        "Confirmed Hello World! - 0",
        "NotConfirmed Hello World! - 1",
        "Confirmed Hello World! - 2"
      ])
      assert.lengthOf(yield* broker.published, 3)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("gives a message up after the last retry", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({ count: 2, retryMax: 2, halfway: broker.loseConfirms(3) })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(tagsOf(events), [
        "Confirmed Hello World! - 0",
        "PublishingAgain Hello World! - 1",
        "PublishingAgain Hello World! - 1",
        "NotConfirmed Hello World! - 1"
      ])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("ends when the connection gave up, and does not fail every message that is left", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({
        count: 100,
        retryMax: 2,
        halfway: Effect.andThen(broker.refuseConnects(1000), broker.cutConnections)
      })
      yield* TestClock.adjust("20 seconds")
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(Exit.isFailure(exit) ? exit.cause : ""), "gave up reconnecting")
      assert.strictEqual(tagsOf(events).at(-1), "NotConfirmed Hello World! - 50")
      assert.strictEqual(statesOf(events).at(-1), "Failed")
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("waits, when interrupted, for the confirm of the message that is on its way", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({ count: 100, halfway: broker.withholdConfirms })
      yield* TestClock.adjust("5500 millis")
      const stopping = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(tagsOf(events).at(-1), "Confirmed Hello World! - 49")
      yield* broker.releaseConfirms
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(tagsOf(events), confirmations(51))
      assert.strictEqual(statesOf(events).at(-1), "Closed")
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("reports, when interrupted, a message that would have been published again", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber } = yield* start({ count: 2, halfway: broker.withholdConfirms })
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual(tagsOf(events).at(-1), "PublishingAgain Hello World! - 1")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(tagsOf(events).at(-1), "NotConfirmed Hello World! - 1")
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("fails when the broker is not there, after having reported every attempt", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.refuseConnects(1000)
      const { events, fiber } = yield* start({ count: 100, retryMax: 3 })
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(events.map((event) => event._tag), ["ConnectFailed", "ConnectFailed", "ConnectFailed"])
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
