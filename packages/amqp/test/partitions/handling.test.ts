import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Latch, Schedule } from "effect"
import { AmqpChannel, AmqpConsumer, AmqpPartitions } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { logging } from "../support/Consuming.ts"
import type { Handled } from "../support/Sharing.ts"
import { join, numberOf, onMemory, outOfOrder, send } from "../support/Sharing.ts"

const events = AmqpPartitions.make("events", { count: 4 })

const keys = Array.from({ length: 60 }, (_, i) => `k${i % 12}`)

const noteIn = (handled: Array<Handled>, instance: string) =>
  Effect.fnUntraced(function*(delivery: Parameters<typeof numberOf>[0], partition: number) {
    handled.push({ instance, partition, key: AmqpPartitions.keyOf(delivery), number: numberOf(delivery) })
  })

describe("handling partitions", () => {
  it.effect("one by one, in the order of the publishes, each with the number of its partition", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const note = noteIn(handled, "a")
      const running = new Map<number, number>()
      let most = 0
      yield* join(events, "a", (delivery, partition) =>
        Effect.gen(function*() {
          running.set(partition, (running.get(partition) ?? 0) + 1)
          most = Math.max(most, running.get(partition)!)
          yield* Effect.sleep(100)
          yield* note(delivery, partition)
          running.set(partition, running.get(partition)! - 1)
        }))
      yield* send(events, keys)
      yield* pass(10_000)
      assert.strictEqual(handled.length, 60)
      assert.strictEqual(most, 1)
      assert.deepStrictEqual(outOfOrder(handled), [])
      for (const { key, partition } of handled) assert.strictEqual(AmqpPartitions.partitionOf(events, key), partition)
    })))

  it.effect("tries a handler that fails again in place, while its partition waits and the others go on", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const note = noteIn(handled, "a")
      const attempts: Array<number> = []
      yield* join(events, "a", (delivery, partition) =>
        numberOf(delivery) === 0 && attempts.length < 3
          ? Effect.suspend(() => {
            attempts.push(1)
            return Effect.fail("not yet")
          })
          : note(delivery, partition), {
        retry: Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 5 }))
      })
      yield* send(events, keys)
      yield* pass(2900, 100)
      const stuck = AmqpPartitions.partitionOf(events, "k0")
      assert.isTrue(handled.length > 0 && handled.every(({ partition }) => partition !== stuck))
      yield* pass(1000)
      assert.strictEqual(handled.length, 60)
      assert.strictEqual(attempts.length, 3)
      assert.deepStrictEqual(outOfOrder(handled), [])
    })))

  it.effect("parks what is given up, says why and after how many attempts, and goes on in order", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const note = noteIn(handled, "a")
      yield* join(events, "a", (delivery, partition) => {
        if (numberOf(delivery) === 36) throw new Error("a worse bug")
        return numberOf(delivery) === 12
          ? Effect.fail(new Error("no stock"))
          : numberOf(delivery) === 24
          ? Effect.die(new Error("a bug"))
          : note(delivery, partition)
      }, { retry: Schedule.recurs(2) })
      yield* send(events, keys)
      yield* pass(5000)
      assert.strictEqual(handled.length, 57)
      assert.deepStrictEqual(outOfOrder(handled), [])
      const channel = yield* AmqpChannel.AmqpChannel
      const parked = yield* Effect.forEach([0, 1, 2], () => channel.get(events.parked, { noAck: true }))
      assert.deepStrictEqual(
        parked.map((found) =>
          found._tag === "Some"
            ? [found.value.messageId, found.value.headers["x-parked-reason"], found.value.headers["x-parked-attempts"]]
            : undefined
        ),
        [["12", "no stock", 3], ["24", "a bug", 1], ["36", "a worse bug", 1]]
      )
      const broker = yield* AmqpMemory.AmqpMemory
      for (const { name } of events.queues) {
        const queue = yield* broker.queue(name)
        assert.deepInclude(queue, { ready: 0, unacked: 0 })
      }
    })))

  it.effect("forgets what is given up where the policy says so, and what the handler drops", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* join(
        events,
        "a",
        (delivery) =>
          Effect.gen(function*() {
            const number = numberOf(delivery)
            if (number % 3 === 0) return yield* Effect.fail("worthless" as const)
            return yield* number % 3 === 1 ? AmqpConsumer.drop : AmqpConsumer.deadLetter
          }),
        { retry: Schedule.recurs(0), onFailure: (error) => error === "worthless" ? "drop" : "park" }
      )
      yield* send(events, keys)
      yield* pass(2000)
      assert.strictEqual(yield* broker.depth("events.parked"), 20)
      for (const { name } of events.queues) {
        const queue = yield* broker.queue(name)
        assert.deepInclude(queue, { ready: 0, unacked: 0 })
      }
    })))

  it.effect("keeps the order of each key with orderedBy, and handles several at once", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<Handled> = []
      const note = noteIn(handled, "a")
      yield* join(events, "a", (delivery, partition) => Effect.andThen(Effect.sleep(100), note(delivery, partition)), {
        concurrency: 20,
        orderedBy: AmqpPartitions.keyOf
      })
      yield* send(events, keys)
      yield* pass(600, 100)
      assert.strictEqual(handled.length, 60)
      assert.deepStrictEqual(outOfOrder(handled), [])
    })))

  it.effect("interrupts a handler after its time, as a failure like any other", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const never = Latch.makeUnsafe(false)
      yield* join(events, "a", () => never.await, { handlerTimeout: "1 second", retry: Schedule.recurs(1) })
      yield* send(events, ["k0"])
      yield* pass(3000, 500)
      assert.strictEqual(yield* broker.depth("events.parked"), 1)
    })))
})

describe("refusals of a group", () => {
  const refusal = (options: AmqpPartitions.Options<never>) =>
    onMemory(
      Effect.map(
        Effect.exit(join(events, "a", () => Effect.void, options)),
        (exit) => Exit.isFailure(exit) ? String(exit.cause) : "it was made"
      )
    )

  it.effect("a retry with a delay, which would break the order", () =>
    Effect.gen(function*() {
      const retry = AmqpConsumer.retry(Schedule.recurs(3)) as never
      const text = yield* refusal({ onFailure: retry })
      assert.include(text, "the option \"onFailure\" is invalid: a retry with a delay puts the message behind others")
      assert.include(text, "Try again in place with the option `retry`")
      assert.include(yield* refusal({ onFailure: "requeue" as never }), "\"requeue\" is not for partitions")
    }))

  it.effect("several handlers at once without a word on what stays in order", () =>
    Effect.gen(function*() {
      assert.include(yield* refusal({ concurrency: 2 }), "say with `orderedBy` what has to stay in order")
      assert.include(yield* refusal({ instance: "" }), "leave it out for a new name")
    }))
})

describe("the count of partitions", () => {
  const twelve = AmqpPartitions.make("events", { count: 12 })
  const three = AmqpPartitions.make("events", { count: 3 })
  const reasonOf = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) ? String(exit.cause) : "it was declared"

  it.effect("is refused while the queues of another count hold messages, with what is to be done", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpPartitions.declare(events)
      yield* send(events, ["k0", "k0", "k1"])
      for (const other of [twelve, three]) {
        const text = reasonOf(yield* Effect.exit(Effect.scoped(AmqpPartitions.declare(other))))
        assert.include(text, `the option "count" is invalid: it is ${other.count}, and "events" has 4 partitions`)
        assert.include(text, "has 2 messages and 0 consumers")
        assert.include(text, "Stop the publishers")
        assert.include(
          reasonOf(yield* Effect.exit(join(other, "b", () => Effect.void))),
          `it is ${other.count}, and "events" has 4 partitions`
        )
      }
    })))

  it.effect("is refused while instances with another count run", () =>
    onMemory(Effect.gen(function*() {
      yield* join(events, "a", () => Effect.void)
      assert.include(
        reasonOf(yield* Effect.exit(join(twelve, "b", () => Effect.void))),
        "has 0 messages and 1 consumers"
      )
    })))

  it.effect("may change once the queues are empty, up and down, and nothing goes to a queue of before", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const handled: Array<Handled> = []
      for (const now of [events, twelve, three, events]) {
        const instance = yield* join(now, "a", noteIn(handled, "a"))
        yield* send(now, keys, handled.length)
        yield* pass(1000)
        yield* instance.leave
      }
      assert.strictEqual(handled.length, 240)
      for (const { name } of twelve.queues) {
        const queue = yield* broker.queue(name)
        assert.deepInclude(queue, { ready: 0, unacked: 0 })
      }
    })))
})

describe("RabbitMQ before 4.0", () => {
  it.effect("is said once not to balance", () =>
    Effect.gen(function*() {
      for (const version of ["3.10", "4.0"] as const) {
        const lines: Array<{ readonly message: string; readonly annotations: Readonly<Record<string, unknown>> }> = []
        yield* onMemory(join(events, "a", () => Effect.void), AmqpMemory.layerWith({ version })).pipe(
          Effect.provide(logging(lines))
        )
        const said = lines.filter(({ message }) => message.startsWith("AMQP partitions are not balanced"))
        assert.strictEqual(said.length, version === "3.10" ? 1 : 0)
      }
    }))
})
