import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { AmqpConnection, AmqpPartitions } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import type { Instance } from "../support/Sharing.ts"
import { join, onMemory, send } from "../support/Sharing.ts"

const events = AmqpPartitions.make("events", { count: 12 })
const keys = Array.from({ length: 120 }, (_, i) => `k${i}`)

const joinAs = (name: string) => join(events, name, () => Effect.void)

const numberOf = ({ health }: Instance) => Effect.map(health, ({ groups }) => groups[0]?.number)

/** How many partitions each instance has, once there were messages in all of them. */
const sharesOf = (instances: ReadonlyArray<Instance>) =>
  Effect.gen(function*() {
    yield* send(events, keys)
    yield* pass(1000)
    return yield* Effect.forEach(instances, ({ health }) =>
      Effect.map(health, ({ groups: [group] }) => group!.partitions.filter(({ active }) => active).length))
  })

describe("the number of an instance", () => {
  it.effect("is the lowest that is free, and gives all of them the same share", () =>
    onMemory(Effect.gen(function*() {
      const instances = yield* Effect.forEach(["A", "B", "C", "D"], joinAs)
      assert.deepStrictEqual(yield* Effect.forEach(instances, numberOf), [0, 1, 2, 3])
      assert.deepStrictEqual(yield* sharesOf(instances), [3, 3, 3, 3])
      yield* instances[1]!.leave
      const late = yield* joinAs("E")
      assert.strictEqual(yield* numberOf(late), 1)
      assert.deepStrictEqual(yield* sharesOf([instances[0]!, late, instances[2]!, instances[3]!]), [3, 3, 3, 3])
      yield* instances[3]!.leave
      assert.deepStrictEqual(yield* sharesOf([instances[0]!, late, instances[2]!]), [4, 4, 4])
    })))

  it.effect("is another one for each of those who come at the same moment, however many they are", () =>
    onMemory(Effect.gen(function*() {
      const names = Array.from({ length: 40 }, (_, at) => `instance-${at}`)
      const instances = yield* Effect.forEach(names, joinAs, { concurrency: "unbounded" })
      const numbers = yield* Effect.forEach(instances, numberOf)
      assert.sameMembers(numbers, names.map((_, at) => at))
    })))

  it.effect("is another one for each of two instances on one connection", () =>
    onMemory(Effect.gen(function*() {
      const instance = (name: string) => AmqpPartitions.layer(events, () => Effect.void, { instance: name })
      yield* Layer.build(Layer.merge(Layer.fresh(instance("A")), Layer.fresh(instance("B"))))
      const { groups } = yield* Effect.flatMap(AmqpConnection.AmqpConnection, ({ health }) => health)
      assert.sameMembers(groups.map(({ number }) => number), [0, 1])
    })))

  it.effect("is taken anew when the connection is back, and may be free no more", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const first = yield* joinAs("A")
      const second = yield* joinAs("B")
      yield* broker.cutConnection("A")
      yield* pass(5000)
      assert.deepStrictEqual(yield* Effect.forEach([first, second], numberOf), [0, 1])
      yield* broker.cutConnection("A")
      const third = yield* joinAs("C")
      yield* pass(5000)
      assert.deepStrictEqual(yield* Effect.forEach([third, second, first], numberOf), [0, 1, 2])
      assert.deepStrictEqual(yield* sharesOf([third, second, first]), [4, 4, 4])
    })))

  it.effect("is had by a user who may not write to the default exchange", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.setUser({
        name: "worker",
        password: Redacted.make("secret"),
        permissions: { configure: /.*/, write: /^(events|amq\.gen)/, read: /.*/ }
      })
      const instances = yield* Effect.forEach(["A", "B"], (name) =>
        join(events, name, () => Effect.void, {
          connection: { credentials: { username: "worker", password: Redacted.make("secret") } }
        }))
      assert.deepStrictEqual(yield* Effect.forEach(instances, numberOf), [0, 1])
    })))
})
