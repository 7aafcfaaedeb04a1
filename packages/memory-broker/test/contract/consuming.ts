import { assert } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

const withQueue = Effect.fnUntraced(function*(args = {}) {
  const connection = yield* Client.connect()
  const channel = yield* Client.open(connection)
  yield* Client.queue(channel, "q", args)
  return { connection, channel }
})

const received = (consumer: Client.Consuming) => consumer.received.map(Client.text)

export const consuming = suite("who gets what", {
  "a consumer gets what was there and what comes, in order": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* Client.fill(channel, "q", "1", "2")
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "3")
    const got = [yield* consumer.next, yield* consumer.next, yield* consumer.next]
    assert.deepStrictEqual(got.map(Client.text), ["1", "2", "3"])
    assert.deepStrictEqual(got.map((delivery) => delivery.deliveryTag), [1, 2, 3])
  }),
  "messages go round the consumers": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    const a = yield* Client.consume(channel, "q")
    const b = yield* Client.consume(channel, "q")
    const c = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3", "4", "5", "6")
    yield* Client.settle
    assert.deepStrictEqual([a, b, c].map(received), [["1", "4"], ["2", "5"], ["3", "6"]])
  }),
  "prefetch bounds what a consumer has unacknowledged": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* channel.prefetch(2)
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3", "4")
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1", "2"])
    channel.ackUnsafe(1, false)
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1", "2", "3"])
    channel.nackUnsafe(2, false, false)
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1", "2", "3", "4"])
  }),
  "prefetch counts for each consumer of a channel by itself": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* channel.prefetch(1)
    const a = yield* Client.consume(channel, "q")
    const b = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual([...received(a), ...received(b)].sort(), ["1", "2"])
  }),
  "prefetch counts for consumers that start later": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    const consumer = yield* Client.consume(channel, "q")
    yield* channel.prefetch(1)
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1", "2", "3"])
  }),
  "prefetch 0 is no limit": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* channel.prefetch(1)
    yield* channel.prefetch(0)
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1", "2", "3"])
  }),
  "prefetch does not hold a consumer that needs no acknowledgement": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* channel.prefetch(1)
    const consumer = yield* Client.consume(channel, "q", { noAck: true })
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1", "2", "3"])
    yield* channel.close
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.session, "q"), [])
  }),
  "prefetch does not count what was got": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* channel.prefetch(1)
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.take(channel, "q")
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["2"])
  }),
  "a consumer whose prefetch is used up is passed over": Effect.gen(function*() {
    const { channel, connection } = yield* withQueue()
    const busy = yield* Client.open(connection)
    yield* busy.prefetch(1)
    const slow = yield* Client.consume(busy, "q")
    const fast = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3", "4")
    yield* Client.settle
    assert.strictEqual(slow.received.length, 1)
    assert.strictEqual(fast.received.length, 3)
  }),
  "a consumer of higher priority gets everything while it has room": Effect.gen(function*() {
    const { channel, connection } = yield* withQueue()
    const other = yield* Client.open(connection)
    yield* other.prefetch(2)
    const low = yield* Client.consume(channel, "q", { arguments: { "x-priority": -1 } })
    const high = yield* Client.consume(other, "q", { arguments: { "x-priority": 10 } })
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual([received(high), received(low)], [["1", "2"], ["3"]])
  }),
  "with a single active consumer the others wait for it to go": Effect.gen(function*() {
    const { channel } = yield* withQueue({ "x-single-active-consumer": true })
    const first = yield* Client.consume(channel, "q")
    const second = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2")
    yield* Client.settle
    assert.deepStrictEqual([received(first), received(second)], [["1", "2"], []])
    yield* channel.cancel(first.tag)
    yield* Client.fill(channel, "q", "3")
    yield* Client.settle
    assert.deepStrictEqual([received(first), received(second)], [["1", "2"], ["3"]])
  }),
  "a single active consumer without room holds the queue up": Effect.gen(function*() {
    const { channel } = yield* withQueue({ "x-single-active-consumer": true })
    yield* channel.prefetch(1)
    const first = yield* Client.consume(channel, "q")
    const second = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2")
    yield* Client.settle
    assert.deepStrictEqual([received(first), received(second)], [["1"], []])
  }),
  "cancelling ends the deliveries and keeps what is unacknowledged": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1")
    const got = yield* consumer.next
    yield* channel.cancel(consumer.tag)
    yield* Client.fill(channel, "q", "2")
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1"])
    assert.deepStrictEqual(yield* channel.checkQueue("q"), { queue: "q", messageCount: 1, consumerCount: 0 })
    channel.ackUnsafe(got.deliveryTag, false)
    yield* channel.close
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.session, "q"), ["2"])
  }),
  "cancelling a consumer that there is not is no error": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* channel.cancel("nobody")
  }),
  "a consumer tag can be used on two channels of a connection": Effect.gen(function*() {
    const { channel, connection } = yield* withQueue()
    yield* Client.consume(channel, "q", { tag: "same" })
    yield* Client.consume(yield* Client.open(connection), "q", { tag: "same" })
  }),
  "a consumer tag that is used twice on a channel closes the connection": Effect.gen(function*() {
    const { channel, connection } = yield* withQueue()
    yield* Client.consume(channel, "q", { tag: "same" })
    const failure = yield* Client.failure(Client.consume(channel, "q", { tag: "same" }))
    const expected = { reason: "ConnectionLost", text: "NOT_ALLOWED - attempt to reuse consumer tag 'same'" }
    assert.deepStrictEqual(failure, expected)
    assert.deepStrictEqual(yield* Client.ending(connection), expected)
  }),
  "a consumer tag is free again after its consumer was cancelled": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* Client.consume(channel, "q", { tag: "same" })
    yield* channel.cancel("same")
    yield* Client.consume(channel, "q", { tag: "same" })
  }),
  "deleting a queue cancels its consumers and leaves their channel open": Effect.gen(function*() {
    const { channel, connection } = yield* withQueue()
    const other = yield* Client.open(connection)
    const consumer = yield* Client.consume(other, "q")
    yield* channel.deleteQueue("q", { ifUnused: false, ifEmpty: false })
    yield* Deferred.await(consumer.cancelled)
    assert.isTrue(other.isOpen())
    yield* Client.queue(other, "again")
  }),
  "a message that comes back goes to another consumer": Effect.gen(function*() {
    const { channel, connection } = yield* withQueue()
    const other = yield* Client.open(connection)
    const first = yield* Client.consume(other, "q")
    yield* Client.fill(channel, "q", "1")
    yield* first.next
    const second = yield* Client.consume(channel, "q")
    yield* other.close
    const got = yield* second.next
    assert.deepStrictEqual([Client.text(got), got.redelivered], ["1", true])
  }),
  "a cancelled exclusive consumer makes room": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    const first = yield* Client.consume(channel, "q", { exclusive: true })
    yield* channel.cancel(first.tag)
    yield* Client.consume(channel, "q")
  }),
  ...rows(
    [["classic", "x-stream-offset"], ["quorum", "x-stream-offset"], ["stream", "x-priority"]] as const,
    ([type, argument]) => [
      `a consumer with an offset and a priority is refused before anything else, and told the type: ${type}`,
      Effect.gen(function*() {
        const { channel, connection } = yield* withQueue({ "x-queue-type": type })
        yield* Client.fill(channel, "q", "1")
        if (type !== "stream") yield* Client.consume(channel, "q", { ack: false, exclusive: true })
        const asking = yield* Client.open(connection)
        assert.deepStrictEqual(
          yield* Client.failure(
            Client.consume(asking, "q", { arguments: { "x-stream-offset": "first", "x-priority": 1 }, noAck: true })
          ),
          {
            reason: "OperationRefused",
            text: `PRECONDITION_FAILED - invalid arg '${argument}' for queue 'q' in vhost '/' of queue type ` +
              `rabbit_${type}_queue`
          }
        )
        assert.isTrue(channel.isOpen())
      })
    ]
  ),
  "acknowledging from the consumer keeps it going": Effect.gen(function*() {
    const { channel } = yield* withQueue()
    yield* channel.prefetch(1)
    const consumer = yield* Client.consume(channel, "q", { ack: true })
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual(received(consumer), ["1", "2", "3"])
  })
})
