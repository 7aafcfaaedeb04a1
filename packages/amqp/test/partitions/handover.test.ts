import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Schedule } from "effect"
import { AmqpPartitions } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import type { Handled } from "../support/Sharing.ts"
import { join, numberOf, onMemory, outOfOrder, send } from "../support/Sharing.ts"

const events = AmqpPartitions.make("events", { count: 12 })
const keys = Array.from({ length: 120 }, (_, i) => `k${i % 40}`)

/** Joins, and notes what is handled and when a partition comes and goes. */
const joinAs = (name: string, handled: Array<Handled>, told: Array<string>, options: {
  readonly millis?: number | undefined
  readonly drainTimeout?: number | undefined
  readonly endpoints?: string | undefined
} = {}) =>
  join(events, name, (delivery, partition) =>
    Effect.gen(function*() {
      if (options.millis !== undefined) yield* Effect.sleep(options.millis)
      handled.push({ instance: name, partition, key: AmqpPartitions.keyOf(delivery), number: numberOf(delivery) })
    }), {
    drainTimeout: options.drainTimeout,
    onAssigned: (partition) => Effect.sync(() => void told.push(`${name} gets ${partition}`)),
    onRevoked: (partition) => Effect.sync(() => void told.push(`${name} loses ${partition}`)),
    connection: { heartbeat: "2 seconds", endpoints: options.endpoints }
  })

const shareOf = (handled: ReadonlyArray<Handled>, name: string): number =>
  new Set(handled.filter(({ instance }) => instance === name).map(({ partition }) => partition)).size

describe("instances that share partitions", () => {
  it.effect("get four of twelve each when three share them, and all of them again one by one as they leave", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const told: Array<string> = []
      const instances = yield* Effect.forEach(["A", "B", "C"], (name) => joinAs(name, handled, told))
      yield* send(events, keys)
      yield* pass(1000)
      assert.strictEqual(handled.length, 120)
      const shares = instances.map(({ name }) => shareOf(handled, name))
      assert.deepStrictEqual(shares, [4, 4, 4])
      for (const [at, { leave }] of instances.slice(0, 2).entries()) {
        const before = handled.length
        yield* leave
        yield* send(events, keys, (at + 1) * 120)
        yield* pass(1000)
        assert.strictEqual(handled.length, before + 120)
      }
      assert.strictEqual(shareOf(handled.slice(240), "C"), 12)
      assert.deepStrictEqual(outOfOrder(handled), [])
    })))

  it.effect("hand over in order: a handler that runs finishes, nothing newer is handled before what was prefetched", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const told: Array<string> = []
      const first = yield* joinAs("A", handled, told, { millis: 500 })
      yield* send(events, keys)
      yield* pass(600, 100)
      yield* joinAs("B", handled, told, { millis: 100 })
      const leaving = yield* Effect.forkChild(first.leave, { startImmediately: true })
      yield* pass(20_000)
      yield* Fiber.join(leaving)
      const numbers = handled.map(({ number }) => number)
      assert.strictEqual(new Set(numbers).size, 120)
      assert.strictEqual(numbers.length, 120)
      assert.deepStrictEqual(outOfOrder(handled), [])
    })))

  it.effect("keep the order when a handler does not finish in time: its message is the first that the next one gets", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const told: Array<string> = []
      const never = Latch.makeUnsafe(false)
      const first = yield* join(events, "A", () => never.await, { drainTimeout: "2 seconds" })
      yield* send(events, keys)
      yield* pass(1000)
      const second = yield* joinAs("B", handled, told)
      yield* pass(1000)
      const leaving = yield* Effect.forkChild(first.leave, { startImmediately: true })
      yield* pass(5000)
      yield* Fiber.join(leaving)
      assert.deepStrictEqual(outOfOrder(handled), [])
      assert.strictEqual(handled.length, 120)
      const seen = new Map<string, number>()
      for (const { key, number } of handled) {
        assert.isAbove(number, seen.get(key) ?? -1)
        seen.set(key, number)
      }
      yield* second.leave
    })))

  it.effect("take over within three heartbeats from one whose machine is cut off, in order, and it comes back by itself", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const handled: Array<Handled> = []
      const told: Array<string> = []
      const far = yield* joinAs("A", handled, told, { millis: 100, endpoints: "amqp://far" })
      yield* Effect.forEach(["B", "C"], (name) => joinAs(name, handled, told, { millis: 100 }))
      yield* send(events, keys)
      yield* pass(500, 100)
      assert.isAtLeast(shareOf(handled, "A"), 2)
      yield* broker.setEndpoint({ host: "far" }, "unreachable")
      yield* send(events, keys, 120)
      yield* pass(6000, 100)
      const partitionsOfA = new Set(
        handled.filter(({ instance }) => instance === "A").map(({ partition }) => partition)
      )
      const atTheEnd = handled.length
      yield* pass(2000, 100)
      const later = handled.slice(atTheEnd)
      assert.deepStrictEqual(new Set(later.map(({ instance }) => instance)), new Set(["B", "C"]))
      assert.deepStrictEqual(new Set(later.map(({ partition }) => partition)), partitionsOfA)
      assert.deepStrictEqual(
        told.filter((line) => line.startsWith("A loses")).length,
        partitionsOfA.size,
        "A does not know that it has lost its partitions"
      )
      yield* pass(20_000, 100)
      assert.strictEqual(new Set(handled.map(({ number }) => number)).size, 240)
      assert.deepStrictEqual(outOfOrder(handled), [])
      yield* broker.setEndpoint({ host: "far" }, "answers")
      yield* pass(60_000)
      const before = handled.length
      yield* send(events, keys, 240)
      yield* pass(5000)
      assert.strictEqual(shareOf(handled.slice(before), "A"), partitionsOfA.size)
      assert.strictEqual(handled.length, before + 120)
      assert.deepStrictEqual(outOfOrder(handled), [])
      yield* far.leave
    })))

  it.effect("do not wait for the next attempt of a handler when they leave", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const first = yield* join(events, "A", () => Effect.fail("never"), { retry: Schedule.spaced("1 hour") })
      yield* send(events, keys)
      yield* pass(1000)
      yield* joinAs("B", handled, [])
      yield* first.leave
      yield* pass(1000)
      assert.strictEqual(handled.length, 120)
      assert.deepStrictEqual(outOfOrder(handled), [])
    })))

  it.effect("tell when a partition comes and goes, once each, and show it in the health", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const told: Array<string> = []
      const broker = yield* AmqpMemory.AmqpMemory
      const instance = yield* joinAs("A", handled, told)
      const active = Effect.map(instance.health, ({ groups: [group] }) => {
        assert.deepInclude(group, { group: "events", instance: "A" })
        return group!.partitions.filter(({ active }) => active).map(({ partition }) => partition)
      })
      assert.deepStrictEqual(yield* active, [])
      yield* send(events, ["customer-42", "customer-42", "a"])
      yield* pass(1000)
      assert.deepStrictEqual(told, ["A gets 3", "A gets 5"].sort(() => told[0] === "A gets 3" ? 0 : -1))
      assert.deepStrictEqual(yield* active, [3, 5])
      yield* broker.cutConnection("A")
      yield* pass(3000)
      assert.deepStrictEqual(told.slice(2).sort(), ["A loses 3", "A loses 5"])
      assert.deepStrictEqual(yield* active, [])
      yield* send(events, ["a"])
      yield* pass(1000)
      yield* instance.leave
      assert.deepStrictEqual(told.slice(4), ["A gets 3", "A loses 3"])
    })))

  it.effect("hear that another instance has a partition, which it got without a word of the broker", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const told: Array<string> = []
      const all = Array.from({ length: 12 }, (_, partition) => partition)
      const onePerPartition = keys.filter((key, at) =>
        keys.findIndex((other) =>
          AmqpPartitions.partitionOf(events, other) === AmqpPartitions.partitionOf(events, key)
        ) ===
          at
      )
      const first = yield* joinAs("A", handled, told)
      yield* send(events, onePerPartition)
      yield* pass(1000)
      assert.sameMembers(told.splice(0), all.map((partition) => `A gets ${partition}`))
      const second = yield* joinAs("B", handled, told)
      yield* send(events, onePerPartition)
      yield* pass(1000)
      const moved = Array.from(new Set(handled.filter(({ instance }) => instance === "B").map((one) => one.partition)))
      assert.isAbove(moved.length, 2)
      assert.sameMembers(
        told.splice(0),
        moved.flatMap((partition) => [`B gets ${partition}`, `A loses ${partition}`])
      )
      const activeOf = Effect.map(
        Effect.all([first.health, second.health]),
        (healths) =>
          healths.map(({ groups: [group] }) =>
            group!.partitions.filter(({ active }) => active).map(({ partition }) => partition)
          )
      )
      assert.deepStrictEqual(yield* activeOf, [
        all.filter((partition) => !moved.includes(partition)),
        moved.sort((one, other) => one - other)
      ])
      yield* second.leave
      yield* send(events, onePerPartition)
      yield* pass(1000)
      assert.sameMembers(told.splice(0), [
        ...moved.map((partition) => `B loses ${partition}`),
        ...moved.map((partition) => `A gets ${partition}`)
      ])
    })))

  it.effect("interrupt what runs when the connection is lost, because others have it", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const never = Latch.makeUnsafe(false)
      const told: Array<string> = []
      yield* join(
        events,
        "A",
        () => Effect.onInterrupt(never.await, () => Effect.sync(() => void told.push("interrupted"))),
        { onRevoked: () => Effect.sync(() => void told.push("revoked")) }
      )
      yield* send(events, ["a"])
      yield* pass(1000)
      yield* broker.refuseConnects(100)
      yield* broker.cutConnection("A")
      yield* pass(1000)
      assert.deepStrictEqual(told, ["interrupted", "revoked"])
    })))
})
