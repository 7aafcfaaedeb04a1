import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Fiber, Logger, Option, Redacted } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { CurrentDriver } from "effect-amqp/CurrentDriver"
import { TestClock } from "effect/testing"
import type { Broker } from "./contract/Broker.ts"
import type { Channel } from "./contract/Client.ts"
import * as Client from "./contract/Client.ts"
import * as Memory from "./contract/memory.ts"

const broker = AmqpMemory.AmqpMemory

const pull = <A>(lever: (service: AmqpMemory.Service) => Effect.Effect<A>) => Effect.flatMap(broker, lever)

const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), TestClock.adjust(0))

const test = <A, E>(
  statement: string,
  body: Effect.Effect<A, E, AmqpMemory.AmqpMemory | Scope.Scope | Broker>
) => it.effect(statement, () => body.pipe(Effect.scoped, Effect.provide(Memory.layer("4.0"))))

/** A channel with a durable queue `q`. */
const withQueue = Effect.gen(function*() {
  const connection = yield* Client.connect()
  const channel = yield* Client.open(connection)
  yield* Client.queue(channel, "q")
  return { connection, channel }
})

const write = (channel: Channel, count: number) =>
  Array.from({ length: count }, (_, i) =>
    Client.write(channel, {
      routingKey: "q",
      body: `${i}`,
      mandatory: true,
      properties: { deliveryMode: 2, messageId: `m${i}` }
    }))

const bodies = (name: string) =>
  pull((service) => service.queue(name)).pipe(
    Effect.map((queue) => queue?.bodies.map((body) => new TextDecoder().decode(body)))
  )

describe("faults of connections", () => {
  test(
    "refuseConnects refuses as many attempts as it says",
    Effect.gen(function*() {
      yield* pull((service) => service.refuseConnects(2))
      assert.strictEqual((yield* Client.failure(Client.connect())).reason, "ConnectionRefused")
      assert.strictEqual((yield* Client.failure(Client.connect())).reason, "ConnectionRefused")
      yield* Client.connect()
    })
  )

  test(
    "delayConnects lets a connect take its time, on the Clock",
    Effect.gen(function*() {
      yield* pull((service) => service.delayConnects("30 seconds"))
      const connecting = yield* begin(Client.connect())
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(connecting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(connecting)
    })
  )

  test(
    "an interrupted connect leaves nothing",
    Effect.gen(function*() {
      yield* pull((service) => service.delayConnects("30 seconds"))
      const connecting = yield* begin(Client.connect())
      yield* Fiber.interrupt(connecting)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* pull((service) => service.leftovers), [])
    })
  )

  test(
    "cutConnections loses what is under way and tells channels, then the connection",
    Effect.gen(function*() {
      const { channel, connection } = yield* withQueue
      write(channel, 1)
      yield* pull((service) => service.cutConnections)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(yield* Client.ending(connection), { reason: "ConnectionLost", text: "read ECONNRESET" })
      assert.deepStrictEqual(connection.endings, ["channel closed", "connection closed"])
      assert.strictEqual(yield* pull((service) => service.depth("q")), 0)
    })
  )

  test(
    "cutConnections gives unacknowledged messages back and deletes exclusive queues",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* Client.queue(channel, "own", {}, { exclusive: true })
      yield* Client.fill(channel, "q", "1")
      yield* Client.take(channel, "q")
      yield* pull((service) => service.cutConnections)
      assert.deepStrictEqual(yield* bodies("q"), ["1"])
      assert.isUndefined(yield* pull((service) => service.queue("own")))
    })
  )

  test(
    "cutConnection cuts by name",
    Effect.gen(function*() {
      const connection = yield* Client.connect()
      yield* pull((service) => service.cutConnection("another"))
      yield* TestClock.adjust(0)
      assert.isFalse(yield* Deferred.isDone(connection.closed))
      yield* pull((service) => service.cutConnection("contract"))
      yield* Client.ending(connection)
    })
  )

  test(
    "cutAfter handles the frame and loses its answer",
    Effect.gen(function*() {
      const { channel, connection } = yield* withQueue
      yield* pull((service) => service.cutAfter(2))
      write(channel, 3)
      yield* Client.ending(connection)
      assert.deepStrictEqual(channel.outcomes, [])
      assert.deepStrictEqual(yield* bodies("q"), ["0", "1"])
      yield* Client.connect()
    })
  )

  test(
    "forceClose ends every connection with 320 and the text",
    Effect.gen(function*() {
      const { connection } = yield* withQueue
      yield* pull((service) => service.forceClose("maintenance"))
      assert.deepStrictEqual(yield* Client.ending(connection), {
        reason: "ConnectionLost",
        text: "CONNECTION_FORCED - maintenance"
      })
    })
  )

  test(
    "stopAnswering lets as many frames through as it says, and resumeAnswering the rest",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.stopAnswering({ after: 1 }))
      const first = yield* begin(channel.checkQueue("q"))
      yield* Fiber.join(first)
      const second = yield* begin(channel.checkQueue("q"))
      write(channel, 1)
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(second.pollUnsafe())
      assert.strictEqual(yield* pull((service) => service.depth("q")), 0)
      yield* pull((service) => service.resumeAnswering)
      assert.strictEqual((yield* Fiber.join(second)).messageCount, 0)
      assert.isTrue(yield* channel.confirmed(1))
    })
  )

  test(
    "for every step k, a client that gives up on a silent broker is told at once and leaves nothing",
    Effect.gen(function*() {
      const scenario = Effect.gen(function*() {
        const { channel } = yield* withQueue
        write(channel, 2)
        yield* channel.confirmed(2)
        yield* Client.consume(channel, "q")
        yield* channel.close
      })
      const start = yield* pull((service) => service.operations)
      yield* Effect.scoped(scenario)
      const steps = (yield* pull((service) => service.operations)) - start
      for (let k = 0; k < steps; k++) {
        yield* pull((service) => service.stopAnswering({ after: k }))
        const running = yield* begin(Effect.scoped(scenario))
        assert.isUndefined(running.pollUnsafe(), `step ${k}`)
        const giving = yield* begin(Fiber.interrupt(running))
        yield* pull((service) => service.cutConnections)
        yield* Fiber.join(giving)
        yield* pull((service) => service.resumeAnswering)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(yield* pull((service) => service.leftovers), [], `step ${k}`)
      }
    })
  )

  test(
    "setLatency delays each direction, in order",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.setLatency("50 millis"))
      write(channel, 2)
      yield* TestClock.adjust("99 millis")
      assert.deepStrictEqual(channel.outcomes, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(channel.outcomes, ["ack 1", "ack 2"])
      yield* pull((service) => service.setLatency(0))
      const closing = yield* begin(channel.close)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
    })
  )

  test(
    "a crash keeps what is durable and persistent, and refuses connects until the start",
    Effect.gen(function*() {
      const { channel, connection } = yield* withQueue
      yield* Client.queue(channel, "transient", {}, { durable: false })
      yield* Client.exchange(channel, "kept", "fanout")
      yield* Client.exchange(channel, "lost", "fanout", { durable: false })
      yield* Client.bind(channel, "q", "kept")
      yield* Client.bind(channel, "q", "lost")
      yield* Client.publish(channel, { routingKey: "q", body: "persistent", properties: { deliveryMode: 2 } })
      yield* Client.publish(channel, { routingKey: "q", body: "transient", properties: { deliveryMode: 1 } })
      yield* Client.publish(channel, { routingKey: "q", body: "delivered", properties: { deliveryMode: 2 } })
      yield* Client.take(channel, "q")
      yield* pull((service) => service.crash)
      yield* Client.ending(connection)
      assert.strictEqual((yield* Client.failure(Client.connect())).reason, "ConnectionRefused")
      yield* pull((service) => service.start)
      const again = yield* Client.session
      yield* Client.publish(again, { exchange: "kept", body: "routed", properties: { deliveryMode: 2 } })
      const got = yield* Client.drain(again, "q")
      assert.deepStrictEqual(got.map((delivery) => [Client.text(delivery), delivery.redelivered]), [
        ["persistent", true],
        ["delivered", false],
        ["routed", false]
      ])
      assert.isUndefined(yield* pull((service) => service.queue("transient")))
      assert.strictEqual((yield* Client.failure(again.checkExchange("lost"))).reason, "NotFound")
    })
  )

  test(
    "a shutdown says goodbye",
    Effect.gen(function*() {
      const { connection } = yield* withQueue
      yield* pull((service) => service.shutDown)
      assert.deepStrictEqual(yield* Client.ending(connection), {
        reason: "ConnectionLost",
        text: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
      })
    })
  )
})

describe("faults of channels and consumers", () => {
  test(
    "closeChannels closes every channel with the code and the text",
    Effect.gen(function*() {
      const { channel, connection } = yield* withQueue
      yield* pull((service) => service.closeChannels({ replyCode: 406, replyText: "PRECONDITION_FAILED - timed out" }))
      assert.strictEqual((yield* Client.closing(channel)).text, "PRECONDITION_FAILED - timed out")
      yield* Client.open(connection)
    })
  )

  test(
    "cancelConsumers cancels from the broker's side and keeps the messages",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      const consumer = yield* Client.consume(channel, "q")
      yield* pull((service) => service.cancelConsumers("q"))
      yield* Deferred.await(consumer.cancelled)
      yield* Client.fill(channel, "q", "1")
      assert.deepStrictEqual(yield* bodies("q"), ["1"])
    })
  )
})

describe("faults of publishing", () => {
  test(
    "withholdConfirms keeps confirms back and releaseConfirms sends them",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.withholdConfirms)
      write(channel, 3)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(channel.outcomes, [])
      assert.strictEqual(yield* pull((service) => service.depth("q")), 3)
      yield* pull((service) => service.releaseConfirms)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(channel.outcomes, ["ack 1", "ack 2", "ack 3"])
    })
  )

  test(
    "delayConfirms confirms later, on the Clock",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.delayConfirms("6 seconds"))
      write(channel, 1)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(channel.outcomes, [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(channel.outcomes, ["ack 1"])
    })
  )

  test(
    "batchConfirms confirms many at once",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.batchConfirms(3))
      write(channel, 2)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(channel.outcomes, [])
      write(channel, 1)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(channel.outcomes, ["ack 1", "ack 2", "ack 3"])
    })
  )

  test(
    "reorderConfirms confirms in an order that the seed decides",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.reorderConfirms(8))
      write(channel, 8)
      yield* TestClock.adjust(0)
      const sorted = Array.from({ length: 8 }, (_, i) => `ack ${i + 1}`)
      assert.notDeepEqual(channel.outcomes, sorted)
      assert.sameMembers(channel.outcomes, sorted)
    })
  )

  test(
    "loseConfirms stores and never confirms, and no later confirm covers the gap",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.loseConfirms(1))
      write(channel, 4)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(channel.outcomes, ["ack 2", "ack 3", "ack 4"])
      assert.strictEqual(yield* pull((service) => service.depth("q")), 4)
    })
  )

  test(
    "nackConfirms nacks and does not store",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.nackConfirms(2))
      write(channel, 3)
      yield* TestClock.adjust(0)
      assert.sameMembers(channel.outcomes, ["nack 1", "nack 2", "ack 3"])
      assert.deepStrictEqual(yield* bodies("q"), ["2"])
    })
  )

  test(
    "returnPublishes returns before it confirms, and does not store",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.returnPublishes(1))
      write(channel, 2)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(channel.outcomes, ["return m0", "ack 1", "ack 2"])
      assert.deepStrictEqual(yield* bodies("q"), ["1"])
    })
  )

  test(
    "block holds a connection that publishes and no other, until unblock",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      const other = yield* Client.session
      yield* pull((service) => service.block("low on disk"))
      write(channel, 2)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(channel.outcomes, [])
      yield* other.checkQueue("q")
      yield* pull((service) => service.unblock)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(channel.outcomes, ["ack 1", "ack 2"])
    })
  )

  test(
    "a client that writes faster than the broker reads is told to wait, and when to go on",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      yield* pull((service) => service.stopAnswering())
      write(channel, 2046)
      assert.isTrue(channel.isWritable())
      write(channel, 1)
      assert.isFalse(channel.isWritable())
      yield* pull((service) => service.resumeAnswering)
      yield* TestClock.adjust(0)
      assert.isTrue(channel.isWritable())
    })
  )

  test(
    "heal ends every fault",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      const service = yield* broker
      yield* service.withholdConfirms
      yield* service.block()
      yield* service.refuseConnects(5)
      yield* service.setLatency("1 hour")
      yield* service.stopAnswering()
      yield* service.heal
      write(channel, 1)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(channel.outcomes, ["ack 1"])
      yield* Client.connect()
    })
  )
})

describe("what goes on without a fault", () => {
  test(
    "an interrupted operation leaves nothing: a channel closes, a message goes back, a consumer is cancelled",
    Effect.gen(function*() {
      const { channel, connection } = yield* withQueue
      yield* Client.fill(channel, "q", "1")
      yield* pull((service) => service.setLatency("1 second"))
      const opening = yield* begin(Client.open(connection))
      const getting = yield* begin(channel.get("q", { noAck: false }))
      yield* Fiber.interrupt(opening)
      yield* Fiber.interrupt(getting)
      const consuming = yield* begin(Client.consume(channel, "q"))
      yield* Fiber.interrupt(consuming)
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* pull((service) => service.counts), {
        connections: 1,
        channels: 1,
        waiting: 0,
        timers: 0
      })
      assert.strictEqual((yield* pull((service) => service.queue("q")))?.consumers, 0)
      yield* pull((service) => service.setLatency(0))
    })
  )

  test(
    "what was published can be read, with the queues that it went to",
    Effect.gen(function*() {
      const { channel } = yield* withQueue
      write(channel, 1)
      Client.write(channel, { routingKey: "nowhere" })
      yield* channel.confirmed(2)
      const published = yield* pull((service) => service.published)
      assert.deepStrictEqual(
        published.map(({ messageId, queues, routingKey }) => [routingKey, messageId, queues]),
        [["q", "m0", ["q"]], ["nowhere", undefined, []]]
      )
    })
  )

  test(
    "leftovers tells what is open, and nothing once all is closed",
    Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        const { channel } = yield* withQueue
        yield* Client.consume(channel, "q")
        yield* Client.fill(channel, "q", "1")
        assert.deepStrictEqual(yield* pull((service) => service.leftovers), [
          "1 connections",
          "1 channels",
          "1 consumers",
          "1 unacked",
          "3 listeners"
        ])
      }))
      assert.deepStrictEqual(yield* pull((service) => service.leftovers), [])
    })
  )

  test(
    "users and virtual hosts can be added",
    Effect.gen(function*() {
      const service = yield* broker
      yield* service.addVhost("second")
      yield* service.setUser({
        name: "eva",
        password: Redacted.make("pw"),
        vhost: "second",
        permissions: { configure: /.*/, write: /.*/, read: /.*/ }
      })
      const connection = yield* Client.connect({ username: "eva", password: Redacted.make("pw"), vhost: "second" })
      const channel = yield* Client.open(connection)
      yield* Client.queue(channel, "q")
      assert.isDefined(yield* service.queue("q", "second"))
      assert.isUndefined(yield* service.queue("q"))
    })
  )

  it.effect("layerLogged logs every frame as a readable line", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      yield* Effect.gen(function*() {
        const driver = yield* CurrentDriver
        const connection = yield* driver.connect({
          host: "memory",
          port: 5672,
          tls: undefined,
          vhost: "/",
          username: "guest",
          password: Redacted.make("guest"),
          heartbeat: 0,
          connectionName: "app"
        }, { onBlocked() {}, onUnblocked() {}, onClose() {} })
        const channel = yield* connection.openChannel({ confirm: false }, {
          onConfirm() {},
          onReturn() {},
          onDrain() {},
          onClose() {}
        })
        yield* Client.queue(channel, "q")
        Client.write(channel, { routingKey: "q", body: "hello", mandatory: true })
        assert.isTrue(Option.isSome(yield* channel.get("q", { noAck: true })))
        yield* connection.close
      }).pipe(Effect.provide(AmqpMemory.layerLogged), Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(lines, [
        "app ch 0 → connection.open",
        "app ch 1 → channel.open ",
        "app ch 1 ← channel.open-ok",
        "app ch 1 → queue.declare queue=\"q\" durable=true arguments={}",
        "app ch 1 ← queue.declare-ok",
        "app ch 1 → basic.publish \"\" \"q\" 5 bytes mandatory",
        "app ch 1 → basic.get queue=\"q\" noAck=true",
        "app ch 1 ← basic.get-ok",
        "app ch 0 → connection.close"
      ])
    }))
})
