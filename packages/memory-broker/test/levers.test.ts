import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Fiber, Option } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpError, OperationTimeout } from "effect-amqp/AmqpError"
import { TestClock } from "effect/testing"
import { Broker } from "./contract/Broker.ts"
import * as Client from "./contract/Client.ts"
import * as Memory from "./contract/memory.ts"

const pull = <A>(lever: (service: AmqpMemory.Service) => Effect.Effect<A>) =>
  Effect.flatMap(AmqpMemory.AmqpMemory, lever)

const test = <A, E>(
  statement: string,
  body: Effect.Effect<A, E, AmqpMemory.AmqpMemory | Scope.Scope | Broker>
) => it.effect(statement, () => body.pipe(Effect.scoped, Effect.provide(Memory.layer("4.0"))))

const elapse = (duration: Parameters<typeof TestClock.adjust>[0]) => TestClock.adjust(duration)

/** What a fiber has come to, if it has. */
const outcome = <A, E>(fiber: Fiber.Fiber<A, E>) => Option.fromUndefinedOr(fiber.pollUnsafe())

const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), elapse(0))

describe("operations that are refused", () => {
  test(
    "a setup that is refused with 541 closes its connection and no other",
    Effect.gen(function*() {
      const connection = yield* Client.connect()
      const other = yield* Client.session
      const channel = yield* Client.open(connection)
      yield* Client.queue(channel, "q")
      yield* pull((broker) =>
        broker.refuse({ on: "consume", name: "q", replyCode: 541, replyText: "INTERNAL_ERROR - no" })
      )
      yield* Client.failure(Client.consume(channel, "q"))
      assert.deepStrictEqual(yield* Client.ending(connection), {
        reason: "ConnectionLost",
        text: "INTERNAL_ERROR - no"
      })
      assert.isTrue(other.isOpen())
    })
  )

  test(
    "a refusal is for the queue that it names, and ends with accept",
    Effect.gen(function*() {
      const channel = yield* Client.session
      yield* pull((broker) => broker.refuse({ on: "declareQueue", name: "a", replyCode: 503, replyText: "no" }))
      yield* Client.queue(channel, "b")
      yield* pull((broker) => broker.accept)
      yield* Client.queue(channel, "a")
    })
  )

  test(
    "a refusal with a number of times is used up",
    Effect.gen(function*() {
      const connection = yield* Client.connect()
      yield* pull((broker) =>
        broker.refuse({ on: "declareQueue", replyCode: 406, replyText: "PRECONDITION_FAILED - not now", times: 2 })
      )
      for (let i = 0; i < 2; i++) {
        const channel = yield* Client.open(connection)
        const { text } = yield* Client.failure(Client.queue(channel, "q"))
        assert.strictEqual(text, "PRECONDITION_FAILED - not now")
      }
      yield* Client.queue(yield* Client.open(connection), "q")
    })
  )

  test(
    "a message that is refused by its id closes its channel in the words of another broker",
    Effect.gen(function*() {
      const connection = yield* Client.connect()
      const channel = yield* Client.open(connection)
      yield* Client.queue(channel, "q")
      yield* pull((broker) =>
        broker.refuse({ on: "publish", messageId: "bad", replyCode: 404, replyText: "No exchange" })
      )
      Client.write(channel, { routingKey: "q", properties: { messageId: "good" } })
      Client.write(channel, { routingKey: "q", properties: { messageId: "bad" } })
      assert.deepStrictEqual(yield* Client.closing(channel), { reason: "NotFound", text: "No exchange" })
      assert.deepStrictEqual(channel.outcomes, ["ack 1"])
      assert.deepStrictEqual(connection.endings, ["channel closed"])
    })
  )

  test(
    "a text of a refusal is cut at 255 bytes",
    Effect.gen(function*() {
      const channel = yield* Client.session
      yield* pull((broker) => broker.refuse({ on: "checkQueue", replyCode: 404, replyText: "x".repeat(300) }))
      const { text } = yield* Client.failure(channel.checkQueue("q"))
      assert.strictEqual(text, `${"x".repeat(252)}...`)
    })
  )
})

describe("endpoints", () => {
  test(
    "a silent endpoint never answers a dial, and answers when it is told to",
    Effect.gen(function*() {
      const { host } = yield* Broker
      yield* pull((broker) => broker.setEndpoint({ host }, "silent"))
      const dial = yield* begin(Client.connect())
      yield* elapse("1 hour")
      assert.isTrue(Option.isNone(outcome(dial)))
      yield* pull((broker) => broker.setEndpoint({ host }, "answers"))
      yield* elapse(0)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(dial)))
    })
  )

  test(
    "a dial of a silent endpoint that is given up leaves nothing behind",
    Effect.gen(function*() {
      const { host } = yield* Broker
      yield* pull((broker) => broker.setEndpoint({ host }, "silent"))
      const dial = yield* begin(Client.connect())
      yield* Fiber.interrupt(dial)
      assert.deepStrictEqual(yield* pull((broker) => broker.leftovers), [])
    })
  )

  test(
    "a mute endpoint shakes hands and answers nothing afterwards",
    Effect.gen(function*() {
      const { host } = yield* Broker
      yield* pull((broker) => broker.setEndpoint({ host }, "mute"))
      const connection = yield* Client.connect()
      const opening = yield* begin(Client.open(connection))
      yield* elapse("1 hour")
      assert.isTrue(Option.isNone(outcome(opening)))
      yield* pull((broker) => broker.heal)
      yield* elapse(0)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(opening)))
    })
  )

  test(
    "a client of an unreachable endpoint hears nothing, and both sides give up within three heartbeats",
    Effect.gen(function*() {
      const { host } = yield* Broker
      const connection = yield* Client.connect({ heartbeat: 10 })
      yield* elapse("1 minute")
      yield* pull((broker) => broker.setEndpoint({ host }, "unreachable"))
      const opening = yield* begin(Effect.flip(Client.open(connection)))
      yield* elapse("29 seconds")
      assert.isTrue(Option.isNone(outcome(opening)))
      assert.strictEqual((yield* pull((broker) => broker.counts)).connections, 1)
      yield* elapse("1 second")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(opening)))
      assert.deepStrictEqual(yield* Client.ending(connection), {
        reason: "ConnectionLost",
        text: "no heartbeat came from the broker"
      })
      assert.deepStrictEqual(yield* pull((broker) => broker.leftovers), [])
    })
  )

  test(
    "a client that drops its socket while it is unreachable has a connection at the broker for three heartbeats",
    Effect.gen(function*() {
      const { host } = yield* Broker
      const connection = yield* Client.connect({ heartbeat: 10 })
      yield* Client.queue(yield* Client.open(connection), "mine", {}, { exclusive: true })
      yield* pull((broker) => broker.setEndpoint({ host }, "unreachable"))
      connection.destroyUnsafe(new AmqpError({ operation: "test", reason: new OperationTimeout({ millis: 1 }) }))
      yield* elapse("29 seconds")
      assert.isDefined(yield* pull((broker) => broker.queue("mine")))
      yield* elapse("1 second")
      assert.isUndefined(yield* pull((broker) => broker.queue("mine")))
      assert.deepStrictEqual(yield* pull((broker) => broker.leftovers), [])
    })
  )

  test(
    "an endpoint that is reachable again in time goes on with what has piled up",
    Effect.gen(function*() {
      const { host } = yield* Broker
      const connection = yield* Client.connect({ heartbeat: 10 })
      yield* pull((broker) => broker.setEndpoint({ host }, "unreachable"))
      const opening = yield* begin(Client.open(connection))
      yield* elapse("20 seconds")
      yield* pull((broker) => broker.setEndpoint({ host }, "answers"))
      yield* elapse("1 hour")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(opening)))
      assert.deepStrictEqual(connection.endings, [])
    })
  )

  test(
    "an endpoint is one port of a host where a port is given",
    Effect.gen(function*() {
      const { host, port } = yield* Broker
      yield* pull((broker) => broker.setEndpoint({ host, port: port + 1 }, "refuses"))
      yield* Client.connect()
      yield* pull((broker) => broker.setEndpoint({ host, port }, "refuses"))
      assert.strictEqual((yield* Client.failure(Client.connect())).reason, "ConnectionRefused")
    })
  )
})

describe("acknowledgement timeouts", () => {
  test(
    "a channel is closed at its first tick after the timeout, which is half an hour by default",
    Effect.gen(function*() {
      const channel = yield* Client.session
      yield* Client.queue(channel, "q")
      yield* Client.fill(channel, "q", "1")
      yield* elapse("30 seconds")
      yield* Client.take(channel, "q")
      yield* elapse("30 minutes")
      assert.isTrue(channel.isOpen())
      yield* elapse("30 seconds")
      assert.match((yield* Client.closing(channel)).text, /Timeout value used: 1800000 ms/)
    })
  )

  test(
    "a timeout that is changed counts for what is out already",
    Effect.gen(function*() {
      const channel = yield* Client.session
      yield* Client.queue(channel, "q")
      yield* Client.fill(channel, "q", "1")
      yield* Client.take(channel, "q")
      yield* pull((broker) => broker.setAckTimeout("10 seconds"))
      yield* elapse("1 minute")
      assert.isTrue(Option.isSome(yield* Deferred.poll(channel.closed)))
    })
  )

  test(
    "the shortest timeout of what is out on a channel closes it, and is named",
    Effect.gen(function*() {
      const channel = yield* Client.session
      yield* Client.queue(channel, "long")
      yield* Client.queue(channel, "short", { "x-consumer-timeout": 90_000 })
      yield* Client.fill(channel, "long", "1")
      yield* Client.fill(channel, "short", "1")
      yield* Client.take(channel, "long")
      yield* Client.take(channel, "short")
      yield* elapse("1 minute")
      assert.isTrue(channel.isOpen())
      yield* elapse("1 minute")
      assert.match((yield* Client.closing(channel)).text, /Timeout value used: 90000 ms/)
    })
  )

  test(
    "an infinite timeout is none",
    Effect.gen(function*() {
      const channel = yield* Client.session
      yield* pull((broker) => broker.setAckTimeout("Infinity"))
      yield* Client.queue(channel, "q")
      yield* Client.fill(channel, "q", "1")
      yield* Client.take(channel, "q")
      yield* elapse("30 days")
      assert.isTrue(channel.isOpen())
    })
  )

  it.effect("since 4.3 every message that is late is one cancel, and others get it in that order", () =>
    Effect.gen(function*() {
      yield* pull((broker) => broker.setAckTimeout("10 seconds"))
      const connection = yield* Client.connect()
      const late = yield* Client.open(connection)
      const other = yield* Client.open(connection)
      yield* Client.queue(late, "q", { "x-queue-type": "quorum" })
      const consumer = yield* Client.consume(late, "q")
      yield* Client.fill(late, "q", "1", "2")
      const story: Array<string> = []
      yield* other.consume({ queue: "q", consumerTag: "B", noAck: false, exclusive: false, arguments: {} }, {
        onDelivery: (delivery) => story.push(Client.text(delivery)),
        onCancel() {}
      })
      yield* elapse("10 seconds")
      assert.deepStrictEqual(consumer.received.map(Client.text), ["1", "2"])
      assert.deepStrictEqual(story, ["1", "2"])
      assert.deepInclude(yield* pull((broker) => broker.queue("q")), { ready: 0, unacked: 2, consumers: 2 })
    }).pipe(Effect.scoped, Effect.provide(Memory.layer("4.3"))))
})
