import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Redacted, Schedule, Scope } from "effect"
import { AmqpChannel, AmqpConsumer, AmqpDriver, AmqpTopology, CurrentDriver } from "effect-amqp"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { dead, logging, onMemory, ready, send, sendWith, unacked, work } from "../support/Consuming.ts"

/** A message of another client, which sends what ours would refuse. */
const sendForeign = Effect.fnUntraced(function*(properties: AmqpDriver.WireProperties) {
  const driver = yield* CurrentDriver.CurrentDriver
  const connection = yield* driver.connect({
    host: "localhost",
    port: 5672,
    tls: undefined,
    vhost: "/",
    username: "guest",
    password: Redacted.make("guest"),
    heartbeat: 0,
    connectionName: "foreign"
  }, { onBlocked() {}, onUnblocked() {}, onClose() {} })
  const channel = yield* connection.openChannel({ confirm: false }, AmqpDriver.noChannelEvents)
  channel.publishUnsafe({ exchange: "", routingKey: "work", mandatory: false, properties, body: new Uint8Array() })
  yield* channel.close
  yield* connection.close
  yield* settled
})

describe("AmqpConsumer.retry", () => {
  const fiveTimes = AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))

  it.effect("tries again after exactly the delays of its schedule, and parks then", () =>
    onMemory(Effect.gen(function*() {
      const attempts: Array<readonly [attempt: number, at: number]> = []
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.clockWith((clock) => {
            attempts.push([delivery.attempts, clock.currentTimeMillisUnsafe()])
            return Effect.fail("no")
          }),
        { onFailure: fiveTimes }
      )
      yield* send("a")
      yield* pass(3_600_000, 10_000)
      assert.deepStrictEqual(attempts, [[1, 0], [2, 1000], [3, 3000], [4, 7000], [5, 15_000], [6, 31_000]])
      assert.deepStrictEqual([yield* ready("work.parked"), yield* ready("dead"), yield* unacked], [1, 0, 0])
      assert.deepInclude(yield* consumer.counts, { retried: 5, parked: 1, acked: 0, deadLettered: 0 })
    })))

  it.effect("keeps body, properties, exchange and routing key, and adds only its own headers", () =>
    onMemory(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const orders = AmqpTopology.exchange("orders", { type: "topic" })
      yield* AmqpTopology.declare(AmqpTopology.make(orders, work, AmqpTopology.bind(work, orders, "order.*")))
      const seen: Array<AmqpDelivery.Delivery> = []
      yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.suspend(() => seen.push(delivery) === 1 ? Effect.fail("no") : Effect.void),
        { onFailure: AmqpConsumer.retry(Schedule.recurs(1)) }
      )
      yield* sendWith({
        exchange: orders,
        routingKey: "order.42",
        headers: { tenant: "x", nested: { at: new Date(5000) } },
        messageId: "m",
        correlationId: "c",
        replyTo: "r",
        type: "t",
        appId: "a",
        userId: "guest",
        contentEncoding: "identity",
        priority: 3,
        timestamp: new Date(7000),
        persistent: false
      }, { id: 42 })
      yield* pass(1000)
      const [first, second] = seen
      assert.deepStrictEqual(second?.body, first?.body)
      assert.deepStrictEqual([second?.exchange, second?.routingKey, second?.attempts], ["orders", "order.42", 2])
      const { headers: firstHeaders, ...firstProperties } = first!.properties
      const { headers: secondHeaders, ...secondProperties } = second!.properties
      assert.deepInclude(firstProperties, secondProperties)
      assert.deepInclude({ ...secondHeaders }, { ...firstHeaders })
      assert.strictEqual((yield* channel.checkQueue("work.retry.0")).messageCount, 0)
    })))

  it.effect("can be chosen by a function, and its queues are declared then", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConsumer.make(work, (delivery) => Effect.flatMap(delivery.text, Effect.fail), {
        onFailure: (error) => error === "later" ? fiveTimes : "deadLetter"
      })
      yield* send("never")
      assert.isUndefined(yield* broker.queue("work.retry.1000"))
      yield* send("later", "later")
      assert.strictEqual((yield* broker.queue("work.retry.1000"))?.ready, 2)
      assert.strictEqual(yield* ready("dead"), 1)
    })))

  it.effect("requeues after a pause what cannot be put into its wait queue", () =>
    onMemory(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      let runs = 0
      yield* AmqpConsumer.make(
        work,
        () => Effect.suspend(() => ++runs < 3 ? Effect.fail("no") : Effect.void),
        { onFailure: fiveTimes }
      )
      yield* channel.deleteQueue("work.retry.1000")
      yield* send("a")
      assert.strictEqual(runs, 1)
      yield* pass(999)
      assert.strictEqual(runs, 1)
      yield* pass(10_000)
      assert.deepStrictEqual([runs, yield* unacked], [3, 0])
    })))

  for (
    const [what, onFailure] of [
      ["", fiveTimes],
      [
        " of a policy that makes its schedule anew each time",
        () => AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
      ]
    ] as const
  ) {
    it.effect(`declares a wait queue${what} again that is gone`, () =>
      onMemory(Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const attempts: Array<number> = []
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) => {
            attempts.push(delivery.attempts)
            return attempts.length < 13 ? Effect.fail("no") : Effect.void
          },
          { concurrency: 3, onFailure }
        )
        yield* send("a", "b", "c")
        yield* channel.deleteQueue("work.retry.2000")
        yield* pass(1000)
        assert.deepInclude(yield* consumer.counts, { retried: 3, requeued: 0 })
        yield* pass(1000)
        assert.deepInclude(yield* consumer.counts, { retried: 6, requeued: 3 })
        yield* pass(10_000)
        assert.deepStrictEqual(attempts, [1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4])
        assert.strictEqual(yield* unacked, 0)
      })))
  }

  for (
    const [what, foreign] of [
      ["has no room for more headers", { headers: { big: "x".repeat(130_990) } }],
      ["has a time in its headers that no Date can hold", { headers: { at: new Date(Number.NaN) } }],
      ["has a number in its headers that is none", { headers: { ratio: Number.NaN } }]
    ] as const
  ) {
    it.effect(`dead-letters a message that ${what}, because its copy could never be published`, () => {
      const lines: Parameters<typeof logging>[0] = []
      return onMemory(Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make(work, () => Effect.fail("no"), { onFailure: fiveTimes })
        yield* sendForeign(foreign)
        yield* pass(5000)
        assert.strictEqual(yield* ready("dead"), 1)
        assert.deepInclude(yield* consumer.counts, { delivered: 1, deadLettered: 1, requeued: 0, retried: 0 })
        assert.isTrue(lines.some(({ message }) => message.startsWith("AMQP message cannot be published again")))
      })).pipe(Effect.provide(logging(lines)))
    })
  }

  it.effect("dead-letters a message whose copy has the connection closed, because it would each time", () => {
    const lines: Parameters<typeof logging>[0] = []
    return onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const consumer = yield* AmqpConsumer.make(work, () => Effect.fail("no"), { onFailure: fiveTimes })
      yield* pass(3000)
      yield* broker.refuse({ on: "publish", name: "work.retry.1000", replyCode: 541, replyText: "INTERNAL_ERROR" })
      yield* send("bad")
      yield* pass(10_000)
      assert.strictEqual(yield* ready("dead"), 1)
      assert.deepInclude(yield* consumer.counts, { deadLettered: 1, retried: 0, parked: 0 })
      assert.isTrue(lines.some(({ message }) => message.startsWith("AMQP message cannot be published again")))
    })).pipe(Effect.provide(logging(lines)))
  })

  it.effect("leaves out a timestamp that no Date can hold", () =>
    onMemory(Effect.gen(function*() {
      const timestamps: Array<number | undefined> = []
      yield* AmqpConsumer.make(
        work,
        (delivery) => {
          timestamps.push(delivery.properties.timestamp)
          return delivery.attempts === 1 ? Effect.fail("no") : Effect.void
        },
        { onFailure: fiveTimes }
      )
      yield* sendForeign({ timestamp: 1e15 })
      yield* pass(2000)
      assert.deepStrictEqual(timestamps, [1e15, undefined])
    })))

  it.effect("puts a copy only where it waits, whatever the original's CC header says", () =>
    onMemory(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* channel.declareQueue({ name: "audit" })
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) => delivery.redelivered ? Effect.void : Effect.fail("no"),
        { onFailure: fiveTimes }
      )
      yield* sendWith({ headers: { CC: ["audit"] } }, "a")
      assert.deepStrictEqual([yield* ready("audit"), yield* ready("work.retry.1000")], [1, 1])
      yield* channel.deleteQueue("work.retry.1000")
      yield* sendWith({ headers: { CC: ["audit"] } }, "b")
      yield* pass(1000)
      assert.deepStrictEqual([yield* ready("audit"), (yield* consumer.counts).requeued], [2, 1])
    })))

  it.effect("starts anew in a queue that a message was dead-lettered to", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, () => Effect.fail("no"), {
        onFailure: (_, delivery) => delivery.attempts === 1 ? fiveTimes : "deadLetter"
      })
      const attempts: Array<number> = []
      yield* AmqpConsumer.make(dead, (delivery) => {
        attempts.push(delivery.attempts)
        return Effect.fail("no")
      }, { onFailure: AmqpConsumer.retry(Schedule.spaced("10 seconds").pipe(Schedule.upTo({ times: 1 }))) })
      yield* send("a")
      yield* pass(30_000)
      assert.deepStrictEqual(attempts, [1, 2])
      assert.strictEqual(yield* ready("dead.parked"), 1)
    })))

  it.effect("copies no message that its handler has settled, or that the broker has put back", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConsumer.make(
        work,
        Effect.fnUntraced(function*(delivery) {
          const text = yield* delivery.text
          if (text === "settled") yield* delivery.ack()
          else if (delivery.redelivered) return
          yield* Effect.sleep("5 seconds")
          return yield* Effect.fail("no")
        }),
        { concurrency: 2, onFailure: fiveTimes }
      )
      yield* send("settled")
      yield* pass(5000)
      yield* send("put back")
      yield* broker.cutConnections
      yield* pass(5000)
      assert.strictEqual(yield* ready("work.retry.1000"), 0)
      assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
      assert.strictEqual((yield* broker.published).length, 2)
    })))

  it.effect("copies no message that the broker puts back while the queues of its schedule are declared", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConsumer.make(
        work,
        (delivery) => delivery.redelivered ? Effect.void : Effect.andThen(Effect.sleep("1 second"), Effect.fail("no")),
        { concurrency: 2, onFailure: () => fiveTimes }
      )
      yield* send("a", "b")
      yield* broker.setLatency("500 millis")
      yield* pass(2000)
      yield* broker.setLatency(0)
      yield* broker.cutConnections
      yield* pass(10_000)
      assert.deepStrictEqual([yield* ready("work.retry.1000"), yield* ready("work"), yield* unacked], [0, 0, 0])
      assert.strictEqual((yield* broker.published).length, 2)
    })))

  it.effect("declares its queues once, also if a policy makes its schedule anew for each failure", () => {
    const frames: Array<string> = []
    return onMemory(
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const declares = () => frames.filter((frame) => frame.includes("→ queue.declare") && frame.includes("work."))
        yield* AmqpConsumer.make(work, () => Effect.fail("no"), {
          onFailure: () => AmqpConsumer.retry(Schedule.spaced("1 hour").pipe(Schedule.upTo({ times: 3 })))
        })
        yield* send("a", "b", "c")
        assert.strictEqual(yield* ready("work.retry.3600000"), 3)
        assert.strictEqual(declares().length, 4)
        frames.length = 0
        yield* broker.cutConnections
        yield* pass(5000)
        assert.strictEqual(declares().length, 4)
      }),
      AmqpMemory.layerLogged
    ).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => frames.push(String(message)))])))
  })

  it.effect("works while handlers finish at the end of the scope", () =>
    onMemory(Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sleep("1 second"), Effect.fail("no")), {
        onFailure: fiveTimes
      }).pipe(Scope.provide(scope))
      yield* send("a")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* pass(1000)
      yield* Fiber.join(closing)
      assert.deepStrictEqual([yield* ready("work.retry.1000"), yield* ready("work")], [1, 0])
    })))

  for (
    const [what, schedule] of [
      ["a schedule that does not end", Schedule.spaced("1 second")],
      ["a delay that RabbitMQ cannot have", Schedule.spaced("50 days").pipe(Schedule.upTo({ times: 1 }))]
    ] as const
  ) {
    it.effect(`refuses ${what} before anything is declared`, () =>
      onMemory(Effect.gen(function*() {
        const error = yield* Effect.flip(
          AmqpConsumer.make(work, () => Effect.void, { onFailure: AmqpConsumer.retry(schedule) })
        )
        assert.strictEqual(error.reason._tag, "InvalidConfiguration")
      })))
  }

  it.effect("has the same queues for a schedule with jitter each time", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConsumer.make(work, () => Effect.void, {
        onFailure: AmqpConsumer.retry(
          Schedule.spaced("10 seconds").pipe(Schedule.jittered, Schedule.upTo({ times: 3 }))
        )
      })
      assert.isDefined(yield* broker.queue("work.retry.10000"))
    })))
})
