import { assert } from "@effect/vitest"
import { Effect } from "effect"
import * as Client from "./Client.ts"
import { suite } from "./Suite.ts"

const filled = Effect.fnUntraced(function*(...bodies: ReadonlyArray<string>) {
  const channel = yield* Client.session
  yield* Client.queue(channel, "q")
  yield* Client.fill(channel, "q", ...bodies)
  return channel
})

const takeAll = (channel: Client.Channel, count: number) =>
  Effect.forEach(Array.from({ length: count }), () => Client.take(channel, "q"))

export const acknowledging = suite("what becomes of deliveries", {
  "delivery tags count from 1 on each channel": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const first = yield* Client.open(connection)
    const second = yield* Client.open(connection)
    yield* Client.queue(first, "q")
    yield* Client.fill(first, "q", "1", "2", "3")
    const tags = [yield* Client.take(first, "q"), yield* Client.take(first, "q"), yield* Client.take(second, "q")]
    assert.deepStrictEqual(tags.map((delivery) => delivery.deliveryTag), [1, 2, 1])
  }),
  "an acknowledged message is gone": Effect.gen(function*() {
    const channel = yield* filled("1")
    channel.ackUnsafe((yield* Client.take(channel, "q")).deliveryTag, false)
    yield* channel.close
    yield* Client.settle
    const other = yield* Client.session
    assert.deepStrictEqual(yield* Client.bodies(other, "q"), [])
  }),
  "acknowledging several covers the tags up to the one that is given": Effect.gen(function*() {
    const channel = yield* filled("1", "2", "3", "4")
    yield* takeAll(channel, 4)
    channel.ackUnsafe(3, true)
    yield* channel.close
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.session, "q"), ["4"])
  }),
  "acknowledging several from 0 covers all, even if there are none": Effect.gen(function*() {
    const channel = yield* filled("1", "2")
    channel.ackUnsafe(0, true)
    yield* takeAll(channel, 2)
    channel.ackUnsafe(0, true)
    yield* channel.close
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.session, "q"), [])
  }),
  "acknowledging twice closes the channel, and gives back the rest": Effect.gen(function*() {
    const channel = yield* filled("1", "2")
    yield* takeAll(channel, 2)
    channel.ackUnsafe(1, false)
    channel.ackUnsafe(1, false)
    assert.deepStrictEqual(yield* Client.closing(channel), {
      reason: "ChannelClosed",
      text: "PRECONDITION_FAILED - unknown delivery tag 1"
    })
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.session, "q"), ["2"])
  }),
  "a message got without acknowledgement has no tag to acknowledge": Effect.gen(function*() {
    const channel = yield* filled("1")
    const got = yield* Client.take(channel, "q", true)
    channel.ackUnsafe(got.deliveryTag, false)
    assert.strictEqual((yield* Client.closing(channel)).text, "PRECONDITION_FAILED - unknown delivery tag 1")
  }),
  "a requeued message goes back to its place and is marked as redelivered": Effect.gen(function*() {
    const channel = yield* filled("1", "2", "3", "4")
    yield* takeAll(channel, 3)
    channel.nackUnsafe(2, false, true)
    yield* Client.settle
    channel.nackUnsafe(1, false, true)
    yield* Client.settle
    const got = yield* Client.drain(channel, "q")
    assert.deepStrictEqual(got.map((delivery) => [Client.text(delivery), delivery.redelivered]), [
      ["1", true],
      ["2", true],
      ["4", false]
    ])
  }),
  "requeueing several puts all of them back in order": Effect.gen(function*() {
    const channel = yield* filled("1", "2", "3", "4")
    yield* takeAll(channel, 3)
    channel.nackUnsafe(3, true, true)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1", "2", "3", "4"])
  }),
  "nacking without requeue drops the message": Effect.gen(function*() {
    const channel = yield* filled("1", "2")
    yield* takeAll(channel, 2)
    channel.nackUnsafe(1, false, false)
    channel.nackUnsafe(2, false, true)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["2"])
  }),
  "rejecting requeues or drops one message": Effect.gen(function*() {
    const channel = yield* filled("1", "2")
    yield* takeAll(channel, 2)
    channel.rejectUnsafe(1, true)
    channel.rejectUnsafe(2, false)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "closing a channel gives its unacknowledged messages back to their places": Effect.gen(function*() {
    const channel = yield* filled("1", "2", "3")
    yield* takeAll(channel, 2)
    yield* channel.close
    yield* Client.settle
    const got = yield* Client.drain(yield* Client.session, "q")
    assert.deepStrictEqual(got.map((delivery) => [Client.text(delivery), delivery.redelivered]), [
      ["1", true],
      ["2", true],
      ["3", false]
    ])
  }),
  "closing a connection gives its unacknowledged messages back": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "q")
    yield* Client.fill(channel, "q", "1", "2")
    yield* Client.take(channel, "q")
    yield* connection.close
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.session, "q"), ["1", "2"])
  }),
  "a message that was requeued keeps its mark until it is acknowledged": Effect.gen(function*() {
    const channel = yield* filled("1")
    for (const expected of [false, true, true]) {
      const got = yield* Client.take(channel, "q")
      assert.strictEqual(got.redelivered, expected)
      channel.nackUnsafe(got.deliveryTag, false, true)
      yield* Client.settle
    }
  }),
  "a tag of another channel is unknown": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const first = yield* Client.open(connection)
    const second = yield* Client.open(connection)
    yield* Client.queue(first, "q")
    yield* Client.fill(first, "q", "1")
    yield* Client.take(first, "q")
    second.ackUnsafe(1, false)
    assert.strictEqual((yield* Client.closing(second)).text, "PRECONDITION_FAILED - unknown delivery tag 1")
    assert.isTrue(first.isOpen())
  })
})
