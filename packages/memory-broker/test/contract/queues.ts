import { assert } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

export const queues = suite("what queues hold, and how long they live", {
  "a queue hands messages out in the order in which they came": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1", "2", "3"])
  }),
  "a message arrives as it was published": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    const properties = {
      contentType: "text/plain",
      contentEncoding: "identity",
      headers: { text: "å", whole: 7, big: 2 ** 40, real: 1.5, yes: true, none: null, list: [1, "a"], table: { a: 1 } },
      deliveryMode: 2,
      priority: 3,
      correlationId: "c",
      replyTo: "r",
      messageId: "m",
      timestamp: 1_700_000_000,
      type: "t",
      userId: "guest",
      appId: "app"
    }
    yield* Client.publish(channel, { routingKey: "q", body: "héllo", properties })
    const got = yield* Client.take(channel, "q")
    assert.strictEqual(Client.text(got), "héllo")
    assert.deepInclude({ exchange: got.exchange, routingKey: got.routingKey, redelivered: got.redelivered }, {
      exchange: "",
      routingKey: "q",
      redelivered: false
    })
    const { headers, ...others } = properties
    for (const [name, value] of Object.entries(others)) {
      assert.deepStrictEqual(got.properties[name as keyof typeof others], value)
    }
    assert.deepStrictEqual(JSON.parse(JSON.stringify(got.properties.headers)), headers)
  }),
  "declaring and checking a queue counts its ready messages and its consumers": Effect.gen(function*() {
    const channel = yield* Client.session
    assert.deepStrictEqual(yield* Client.queue(channel, "q"), { queue: "q", messageCount: 0, consumerCount: 0 })
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.take(channel, "q")
    assert.deepStrictEqual(yield* Client.queue(channel, "q"), { queue: "q", messageCount: 2, consumerCount: 0 })
    yield* Client.consume(channel, "q")
    assert.deepStrictEqual(yield* channel.checkQueue("q"), { queue: "q", messageCount: 0, consumerCount: 1 })
  }),
  ...rows(["queue", "exchange"] as const, (kind) => [
    `looking at a ${kind} by a passive declaration declares nothing`,
    Effect.gen(function*() {
      const look = (channel: Client.Channel) =>
        kind === "queue" ? Effect.asVoid(channel.checkQueue("e")) : channel.checkExchange("e")
      const missing = yield* Client.failure(look(yield* Client.session))
      assert.deepStrictEqual([missing.reason, missing.text], [
        "NotFound",
        `NOT_FOUND - no ${kind} 'e' in vhost '/'`
      ])
      const channel = yield* Client.session
      if (kind === "queue") yield* Client.queue(channel, "e", { "x-max-length": 5 })
      else yield* Client.exchange(channel, "e", "topic")
      // Its properties are not asked for.
      yield* look(channel)
      assert.isTrue(channel.isOpen())
    })
  ]),
  "purging counts what was ready and leaves what was delivered": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3")
    const first = yield* Client.take(channel, "q")
    assert.strictEqual(yield* channel.purgeQueue("q"), 2)
    channel.nackUnsafe(first.deliveryTag, false, true)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "deleting a queue counts what was ready": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    yield* Client.fill(channel, "q", "1", "2")
    assert.strictEqual(yield* channel.deleteQueue("q", { ifUnused: true, ifEmpty: false }), 2)
  }),
  "acknowledging a delivery of a queue that is gone is no error": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    yield* Client.fill(channel, "q", "1")
    const got = yield* Client.take(channel, "q")
    yield* channel.deleteQueue("q", { ifUnused: false, ifEmpty: false })
    channel.ackUnsafe(got.deliveryTag, false)
    yield* Client.settle
    assert.isTrue(channel.isOpen())
  }),
  "an empty queue gives nothing": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    assert.isTrue(Option.isNone(yield* channel.get("q", { noAck: false })))
  }),
  "a queue without a name gets one": Effect.gen(function*() {
    const channel = yield* Client.session
    const { queue } = yield* Client.queue(channel, "", {}, { exclusive: true, durable: false })
    assert.match(queue, /^amq\.gen-[\w-]{22}$/)
    yield* Client.fill(channel, queue, "1")
    assert.deepStrictEqual(yield* Client.bodies(channel, queue), ["1"])
  }),
  "an empty name is the queue that the channel declared last": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.exchange(channel, "x", "fanout")
    yield* Client.queue(channel, "first")
    yield* Client.queue(channel, "second")
    yield* Client.bind(channel, "", "x")
    yield* Client.publish(channel, { exchange: "x", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "second"), ["1"])
    assert.deepStrictEqual(yield* Client.bodies(channel, "first"), [])
  }),
  "an exclusive queue is locked for other connections": Effect.gen(function*() {
    const owner = yield* Client.session
    yield* Client.queue(owner, "own", {}, { exclusive: true, durable: false })
    const other = yield* Client.connect()
    const attempts = [
      (channel: Client.Channel) => Client.queue(channel, "own", {}, { exclusive: true, durable: false }),
      (channel: Client.Channel) => channel.checkQueue("own"),
      (channel: Client.Channel) => channel.get("own", { noAck: true }),
      (channel: Client.Channel) => Client.consume(channel, "own"),
      (channel: Client.Channel) => channel.purgeQueue("own"),
      (channel: Client.Channel) => channel.deleteQueue("own", { ifUnused: false, ifEmpty: false }),
      (channel: Client.Channel) => Client.bind(channel, "own", "amq.fanout")
    ]
    for (const attempt of attempts) {
      const channel = yield* Client.open(other)
      assert.deepStrictEqual(yield* Client.failure(attempt(channel)), {
        reason: "ResourceLocked",
        text: "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'own' in vhost '/'. It could be " +
          "originally declared on another connection or the exclusive property value does not match that of the " +
          "original declaration."
      })
    }
  }),
  "an exclusive queue takes messages from other connections": Effect.gen(function*() {
    const owner = yield* Client.session
    yield* Client.queue(owner, "own", {}, { exclusive: true, durable: false })
    const other = yield* Client.session
    yield* Client.fill(other, "own", "1")
    assert.deepStrictEqual(yield* Client.bodies(owner, "own"), ["1"])
  }),
  "an exclusive queue goes with its connection, not with its channel": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "own", {}, { exclusive: true, durable: false })
    yield* channel.close
    yield* (yield* Client.open(connection)).checkQueue("own")
    yield* connection.close
    yield* Client.settle
    const other = yield* Client.session
    assert.strictEqual((yield* Client.failure(other.checkQueue("own"))).reason, "NotFound")
  }),
  "an auto-delete queue goes with its last consumer": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q", {}, { autoDelete: true })
    const first = yield* Client.consume(channel, "q")
    const second = yield* Client.consume(channel, "q")
    yield* channel.cancel(first.tag)
    yield* channel.checkQueue("q")
    yield* channel.cancel(second.tag)
    yield* Client.settle
    assert.strictEqual((yield* Client.failure(channel.checkQueue("q"))).reason, "NotFound")
  }),
  "an auto-delete queue that never had a consumer stays": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q", {}, { autoDelete: true })
    yield* Client.fill(channel, "q", "1")
    yield* Client.take(channel, "q")
    yield* channel.checkQueue("q")
  }),
  "a queue that expires goes when it is not used": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q", { "x-expires": 300 })
    yield* Client.elapse("150 millis")
    yield* channel.checkQueue("q")
    yield* Client.elapse("600 millis")
    assert.strictEqual((yield* Client.failure(channel.checkQueue("q"))).reason, "NotFound")
  }),
  "a queue that expires stays while it has a consumer": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q", { "x-expires": 200 })
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.elapse("600 millis")
    yield* channel.checkQueue("q")
    yield* channel.cancel(consumer.tag)
    yield* Client.elapse("600 millis")
    assert.strictEqual((yield* Client.failure(channel.checkQueue("q"))).reason, "NotFound")
  }),
  "getting from a queue that expires is using it": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q", { "x-expires": 400 })
    for (let i = 0; i < 4; i++) {
      yield* Client.elapse("200 millis")
      yield* channel.get("q", { noAck: true })
    }
    yield* channel.checkQueue("q")
  })
})
