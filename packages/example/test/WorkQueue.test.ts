import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { AmqpChannel } from "effect-amqp"
import type { AmqpConnection } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import * as Amqp from "../src/Amqp.ts"
import * as Outage from "../src/Outage.ts"
import type { Event } from "../src/Reporter.ts"
import { Reporter } from "../src/Reporter.ts"
import * as Tally from "../src/Tally.ts"
import * as WorkQueue from "../src/WorkQueue.ts"

/** The program over the embedded broker, in virtual time, with all that it reports. */
const start = Effect.fnUntraced(function*(options: {
  readonly count: number
  readonly retryMax?: number
  readonly halfway?: Effect.Effect<void, never, AmqpMemory.AmqpMemory | AmqpConnection.AmqpConnection>
}) {
  const events: Array<Event> = []
  const tally = Tally.ofDeliveries(options.count)
  const retry = { retryInterval: "1 second", retryMax: options.retryMax ?? 100 } as const
  const fiber = yield* WorkQueue.run({
    ...retry,
    count: options.count,
    interval: "100 millis",
    work: Duration.millis(150),
    halfway: options.halfway ?? Effect.void
  }).pipe(
    Effect.provide(Amqp.layer({ ...retry, confirmTimeout: "1 second" }, WorkQueue.layer)),
    Effect.provideService(Reporter, {
      report: (event) =>
        Effect.sync(() => {
          tally.count(event)
          events.push(event)
        })
    }),
    Effect.forkChild({ startImmediately: true })
  )
  yield* settled
  return { events, fiber, tally }
})

/** What happened to messages, without their confirms. */
const fates = (events: ReadonlyArray<Event>) =>
  events.flatMap((event) =>
    event._tag === "Handled"
      ? [`${event.message.body}: handled ${event.times}`]
      : event._tag === "HandlerFailed"
      ? [`${event.message.body}: ${event.reason}`]
      : event._tag === "DeadLettered"
      ? [`${event.message.body}: dead-lettered`]
      : []
  )

const statesOf = (events: ReadonlyArray<Event>, role: AmqpConnection.Role) =>
  events.filter((event) => event._tag === "ConnectionChanged").flatMap(({ state }) =>
    state.role === role && state._tag !== "Connecting" ? [state._tag] : []
  )

/** What of this program is in the broker. */
const queuesLeft = Effect.gen(function*() {
  const broker = yield* AmqpMemory.AmqpMemory
  const names = [WorkQueue.queue.name, WorkQueue.deadLetterQueue.name].flatMap((
    name
  ) => [name, `${name}.parked`, `${name}.retry.500`])
  const states = yield* Effect.forEach(names, (name) => broker.queue(name))
  return states.flatMap((state) => state === undefined ? [] : [state.name])
})

describe("WorkQueue", () => {
  it.effect("handles every message once, dead-letters the poison, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber, tally } = yield* start({ count: 20 })
      yield* pass(5_000, 50)
      yield* Fiber.join(fiber)
      assert.strictEqual(tally.summary(), "published 20, handled 18, handled more than once 0, dead-lettered 2")
      assert.isTrue(tally.isComplete())
      assert.deepStrictEqual(fates(events).filter((fate) => fate.startsWith("Goodbye")), [
        "Goodbye World! - 3: it is not a greeting",
        "Goodbye World! - 3: dead-lettered",
        "Goodbye World! - 13: it is not a greeting",
        "Goodbye World! - 13: dead-lettered"
      ])
      assert.deepStrictEqual(statesOf(events, "publish"), ["Connected", "Closed"])
      assert.deepStrictEqual(statesOf(events, "consume"), ["Connected", "Closed"])
      assert.deepStrictEqual(yield* broker.leftovers, [])
      assert.deepStrictEqual(yield* queuesLeft, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("tries a message again whose handler failed in a way that heals", () =>
    Effect.gen(function*() {
      const { events, fiber } = yield* start({ count: 7 })
      yield* pass(3_000, 50)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(fates(events).filter((fate) => fate.includes("- 6")), [
        "Hello World! - 6: nobody was there to be greeted",
        "Hello World! - 6: handled 1"
      ])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("loses none in an outage, and handles again what was not acknowledged", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber, tally } = yield* start({ count: 100, halfway: Outage.begin })
      yield* pass(20_000, 50)
      yield* Fiber.join(fiber)
      assert.strictEqual(tally.summary(), "published 100, handled 90, handled more than once 1, dead-lettered 10")
      assert.isTrue(tally.isComplete())
      assert.include(fates(events), "Hello World! - 49: handled 2")
      for (const role of ["publish", "consume"] as const) {
        const states = statesOf(events, role)
        assert.strictEqual(states.filter((state) => state === "Connected").length, 2, role)
        assert.include(states, "Reconnecting")
        assert.strictEqual(states.at(-1), "Closed")
      }
      assert.deepStrictEqual(yield* broker.leftovers, [])
      assert.deepStrictEqual(yield* queuesLeft, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("waits, when interrupted, for the handlers that run", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { events, fiber, tally } = yield* start({ count: 100 })
      yield* pass(1_000, 50)
      const before = fates(events).length
      const stopping = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* pass(1_000, 50)
      yield* Fiber.join(stopping)
      assert.strictEqual(fates(events).length, before + 2)
      assert.include(tally.summary(), "handled more than once 0")
      assert.deepStrictEqual(yield* broker.leftovers, [])
      assert.deepStrictEqual(yield* queuesLeft, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("is not confused by what a run left that ended in an outage", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const first = yield* start({ count: 20, halfway: Outage.begin })
      yield* pass(1_000, 50)
      yield* broker.refuseConnects(1000)
      const stopping = yield* Effect.forkChild(Fiber.interrupt(first.fiber), { startImmediately: true })
      yield* pass(10_000, 50)
      yield* Fiber.join(stopping)
      assert.include(yield* queuesLeft, WorkQueue.queue.name)
      yield* broker.heal
      yield* broker.refuseConnects(0)
      const { fiber, tally } = yield* start({ count: 20 })
      yield* pass(5_000, 50)
      yield* Fiber.join(fiber)
      assert.strictEqual(tally.summary(), "published 20, handled 18, handled more than once 0, dead-lettered 2")
      assert.deepStrictEqual(yield* queuesLeft, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("says that messages are missing when nothing has happened for a while", () =>
    Effect.gen(function*() {
      const unbindDeadLetters = Effect.gen(function*() {
        const channel = yield* AmqpChannel.make()
        yield* channel.unbindQueue(WorkQueue.deadLetterQueue, WorkQueue.deadLetterExchange)
      }).pipe(Effect.scoped, Effect.orDie)
      const { fiber, tally } = yield* start({ count: 4, halfway: unbindDeadLetters })
      yield* pass(35_000, 50)
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error.message, "1 of the confirmed messages were neither handled nor dead-lettered")
      assert.isFalse(tally.isComplete())
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("ends when the connection gave up", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { fiber, tally } = yield* start({
        count: 100,
        retryMax: 2,
        halfway: Effect.andThen(broker.refuseConnects(1000), broker.cutConnections)
      })
      yield* pass(20_000, 50)
      assert.include((yield* Effect.flip(Fiber.join(fiber))).message, "gave up reconnecting")
      assert.isFalse(tally.isComplete())
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
