import { assert } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { suite } from "./Suite.ts"

export const publishing = suite("confirms and returns", {
  "tags count from 1 on each channel": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const first = yield* Client.open(connection)
    const second = yield* Client.open(connection)
    assert.deepStrictEqual([Client.write(first, {}), Client.write(first, {}), Client.write(second, {})], [1, 2, 1])
    yield* first.confirmed(2)
  }),
  "a channel without confirms gives no tags": Effect.gen(function*() {
    const channel = yield* Client.open(yield* Client.connect(), { confirm: false })
    yield* Client.queue(channel, "q")
    assert.strictEqual(Client.write(channel, { routingKey: "q", body: "1" }), 0)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
    assert.deepStrictEqual(channel.outcomes, [])
  }),
  "each of many messages is confirmed exactly once": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    for (let i = 0; i < 500; i++) Client.write(channel, { routingKey: i % 3 === 0 ? "nowhere" : "q", body: `${i}` })
    for (let tag = 1; tag <= 500; tag++) assert.isTrue(yield* channel.confirmed(tag))
    assert.strictEqual(channel.outcomes.length, 500)
    assert.strictEqual(new Set(channel.outcomes).size, 500)
    assert.strictEqual((yield* channel.checkQueue("q")).messageCount, 333)
  }),
  "acks and nacks of messages that were published together fall on the right ones": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "full", { "x-max-length": 0, "x-overflow": "reject-publish" })
    yield* Client.queue(channel, "q")
    const isRefused = (tag: number) => tag % 3 === 0 || tag % 7 === 0
    for (let tag = 1; tag <= 100; tag++) Client.write(channel, { routingKey: isRefused(tag) ? "full" : "q" })
    for (let tag = 1; tag <= 100; tag++) assert.strictEqual(yield* channel.confirmed(tag), !isRefused(tag), `${tag}`)
  }),
  "a confirm never comes inside the call that publishes": Effect.gen(function*() {
    const channel = yield* Client.session
    const tag = Client.write(channel, { mandatory: true, routingKey: "nowhere" })
    assert.deepStrictEqual(channel.outcomes, [])
    yield* channel.confirmed(tag)
  }),
  "what cannot be routed is confirmed": Effect.gen(function*() {
    const channel = yield* Client.session
    assert.isTrue(yield* Client.publish(channel, { routingKey: "nowhere" }))
    assert.deepStrictEqual(channel.returns, [])
  }),
  "what cannot be routed and is mandatory is returned before it is confirmed": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.publish(channel, { routingKey: "nowhere", mandatory: true, properties: { messageId: "m" } })
    assert.deepStrictEqual(channel.outcomes, ["return m", "ack 1"])
    assert.deepStrictEqual(channel.returns, [
      { replyCode: 312, replyText: "NO_ROUTE", exchange: "", routingKey: "nowhere", messageId: "m" }
    ])
  }),
  "every return comes before its own confirm when many are under way": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    for (let i = 1; i <= 200; i++) {
      Client.write(channel, {
        routingKey: i % 4 === 0 ? "nowhere" : "q",
        mandatory: true,
        properties: { messageId: `${i}` }
      })
    }
    for (let tag = 1; tag <= 200; tag++) yield* channel.confirmed(tag)
    assert.deepStrictEqual(
      channel.returns.map((returned) => returned.messageId),
      Array.from({ length: 50 }, (_, i) => `${(i + 1) * 4}`)
    )
    for (const { messageId } of channel.returns) {
      assert.isBelow(channel.outcomes.indexOf(`return ${messageId}`), channel.outcomes.indexOf(`ack ${messageId}`))
    }
  }),
  "a message of more than 16 MiB closes the channel since 4.0": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* Client.session
    const body = "x".repeat(16 * 1024 * 1024 + 1)
    if (version < 4) {
      assert.isTrue(yield* Client.publish(channel, { routingKey: "nowhere", body }))
    } else {
      Client.write(channel, { routingKey: "nowhere", body })
      assert.strictEqual(
        (yield* Client.closing(channel)).text,
        "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216"
      )
    }
  }),
  "a mandatory message that is routed is not returned": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    yield* Client.publish(channel, { routingKey: "q", mandatory: true })
    assert.deepStrictEqual(channel.returns, [])
  }),
  "a channel without confirms has what is returned before the answer to what is asked next": Effect.gen(function*() {
    const channel = yield* Client.open(yield* Client.connect(), { confirm: false })
    const ids = Array.from({ length: 32 }, (_, at) => `${at}`)
    for (const messageId of ids) {
      Client.write(channel, { routingKey: "nowhere", mandatory: true, properties: { messageId } })
    }
    yield* channel.prefetch(1)
    assert.deepStrictEqual(channel.outcomes, ids.map((id) => `return ${id}`))
  }),
  "a missing exchange closes the channel, and the others stay": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    const other = yield* Client.open(connection)
    yield* Client.queue(channel, "q")
    yield* Client.fill(channel, "q", "1")
    Client.write(channel, { exchange: "missing" })
    assert.strictEqual((yield* Client.closing(channel)).reason, "NotFound")
    assert.isFalse(channel.isOpen())
    assert.strictEqual(Client.write(channel, { routingKey: "q", body: "2" }), -1)
    assert.isFalse(channel.ackUnsafe(1, false))
    assert.isTrue(yield* Client.publish(other, { routingKey: "q", body: "3" }))
    assert.deepStrictEqual(yield* Client.bodies(other, "q"), ["1", "3"])
  }),
  "what was published before the fault on the same channel is stored": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "q")
    Client.write(channel, { routingKey: "q", body: "before" })
    Client.write(channel, { exchange: "missing" })
    Client.write(channel, { routingKey: "q", body: "after" })
    yield* Client.closing(channel)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.open(connection), "q"), ["before"])
  }),
  "an operation behind the fault fails as the channel was closed": Effect.gen(function*() {
    const channel = yield* Client.session
    const [first, second] = yield* Effect.all(
      [Client.failure(channel.checkQueue("missing")), Client.failure(channel.checkExchange("amq.direct"))],
      { concurrency: "unbounded" }
    )
    assert.strictEqual(first.reason, "NotFound")
    assert.deepStrictEqual(second, first)
    assert.deepStrictEqual(yield* Client.failure(channel.checkExchange("amq.direct")), first)
  }),
  "closing a channel first handles what was written to it": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "q")
    for (let i = 0; i < 100; i++) Client.write(channel, { routingKey: "q", body: `${i}` })
    yield* channel.close
    yield* Deferred.await(channel.closed)
    yield* Client.settle
    const other = yield* Client.open(connection)
    assert.strictEqual((yield* other.checkQueue("q")).messageCount, 100)
  }),
  "closing a channel that is closed is no error": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* channel.close
    yield* channel.close
    assert.isFalse(channel.isOpen())
  })
})
