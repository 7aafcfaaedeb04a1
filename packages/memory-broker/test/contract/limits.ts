import { assert } from "@effect/vitest"
import { Effect } from "effect"
import * as Client from "./Client.ts"
import { suite } from "./Suite.ts"

const withQueue = Effect.fnUntraced(function*(args: Parameters<typeof Client.queue>[2]) {
  const channel = yield* Client.session
  yield* Client.queue(channel, "q", args)
  return channel
})

export const limits = suite("limits of length and time, and priorities", {
  "a full queue drops from its head": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-length": 2 })
    yield* Client.fill(channel, "q", "1", "2", "3", "4")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["3", "4"])
  }),
  "a queue of length 0 keeps nothing": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-length": 0 })
    yield* Client.fill(channel, "q", "1")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "a queue that is full in bytes drops from its head": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-length-bytes": 10 })
    yield* Client.fill(channel, "q", "aaaa", "bbbb", "cccc")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["bbbb", "cccc"])
  }),
  "what is unacknowledged does not count for the length": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-length": 1 })
    yield* Client.fill(channel, "q", "1")
    yield* Client.take(channel, "q")
    yield* Client.fill(channel, "q", "2")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["2"])
  }),
  "a full queue that rejects nacks what is published": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-length": 2, "x-overflow": "reject-publish" })
    const acks: Array<boolean> = []
    for (const body of ["1", "2", "3"]) acks.push(yield* Client.publish(channel, { routingKey: "q", body }))
    assert.deepStrictEqual(acks, [true, true, false])
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1", "2"])
  }),
  "a publish that one of two queues rejects is nacked, and the other has it": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-length": 0, "x-overflow": "reject-publish" })
    yield* Client.queue(channel, "r")
    yield* Client.bind(channel, "q", "amq.fanout")
    yield* Client.bind(channel, "r", "amq.fanout")
    assert.isFalse(yield* Client.publish(channel, { exchange: "amq.fanout", body: "1", mandatory: true }))
    assert.deepStrictEqual(channel.returns, [])
    assert.deepStrictEqual(yield* Client.bodies(channel, "r"), ["1"])
  }),
  "a queue that rejects takes again when there is room": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-length-bytes": 5, "x-overflow": "reject-publish" })
    assert.isTrue(yield* Client.publish(channel, { routingKey: "q", body: "aaaa" }))
    assert.isFalse(yield* Client.publish(channel, { routingKey: "q", body: "bbbb" }))
    yield* Client.take(channel, "q", true)
    assert.isTrue(yield* Client.publish(channel, { routingKey: "q", body: "cccc" }))
  }),
  "a queue's TTL takes messages away": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-message-ttl": 200 })
    yield* Client.fill(channel, "q", "1")
    assert.strictEqual((yield* channel.checkQueue("q")).messageCount, 1)
    yield* Client.elapse("500 millis")
    assert.strictEqual((yield* channel.checkQueue("q")).messageCount, 0)
  }),
  "a message's own expiration takes it away": Effect.gen(function*() {
    const channel = yield* withQueue({})
    yield* Client.publish(channel, { routingKey: "q", body: "1", properties: { expiration: "200" } })
    yield* Client.elapse("500 millis")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "the shorter of the two times counts": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-message-ttl": 200 })
    yield* Client.publish(channel, { routingKey: "q", body: "1", properties: { expiration: "60000" } })
    yield* Client.elapse("500 millis")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "a message behind one that lives longer waits for its turn to expire": Effect.gen(function*() {
    const channel = yield* withQueue({})
    yield* Client.publish(channel, { routingKey: "q", body: "long", properties: { expiration: "60000" } })
    yield* Client.publish(channel, { routingKey: "q", body: "short", properties: { expiration: "100" } })
    yield* Client.elapse("400 millis")
    assert.strictEqual((yield* channel.checkQueue("q")).messageCount, 2)
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["long"])
  }),
  "an expiration of 0 takes the message away unless somebody consumes it at once": Effect.gen(function*() {
    const channel = yield* withQueue({})
    yield* Client.publish(channel, { routingKey: "q", body: "nobody", properties: { expiration: "0" } })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.publish(channel, { routingKey: "q", body: "somebody", properties: { expiration: "0" } })
    assert.strictEqual(Client.text(yield* consumer.next), "somebody")
  }),
  "a delivered message does not expire until it comes back": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-message-ttl": 200 })
    yield* Client.fill(channel, "q", "1")
    const got = yield* Client.take(channel, "q")
    yield* Client.elapse("500 millis")
    channel.nackUnsafe(got.deliveryTag, false, true)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "messages of higher priority come first, and equals in order": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-priority": 5 })
    for (const [body, priority] of [["a", 1], ["b", 5], ["c", 1], ["d", undefined], ["e", 5]] as const) {
      yield* Client.publish(channel, { routingKey: "q", body, properties: { priority } })
    }
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["b", "e", "a", "c", "d"])
  }),
  "a priority above the maximum counts as the maximum": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-priority": 5 })
    yield* Client.publish(channel, { routingKey: "q", body: "a", properties: { priority: 5 } })
    yield* Client.publish(channel, { routingKey: "q", body: "b", properties: { priority: 200 } })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["a", "b"])
  }),
  "a requeued message keeps its priority": Effect.gen(function*() {
    const channel = yield* withQueue({ "x-max-priority": 5 })
    for (const [body, priority] of [["a", 1], ["b", 5], ["c", 5]] as const) {
      yield* Client.publish(channel, { routingKey: "q", body, properties: { priority } })
    }
    const got = yield* Client.take(channel, "q")
    channel.nackUnsafe(got.deliveryTag, false, true)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["b", "c", "a"])
  }),
  "priority means nothing to a queue without": Effect.gen(function*() {
    const channel = yield* withQueue({})
    yield* Client.publish(channel, { routingKey: "q", body: "a", properties: { priority: 1 } })
    yield* Client.publish(channel, { routingKey: "q", body: "b", properties: { priority: 9 } })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["a", "b"])
  })
})
