import { assert } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

const withShortTimeout = Effect.fnUntraced(function*(type: "classic" | "quorum") {
  const broker = yield* Broker
  yield* broker.shortenAckTimeout
  const connection = yield* Client.connect()
  const channel = yield* Client.open(connection)
  yield* Client.queue(channel, "q", { "x-queue-type": type })
  const other = yield* Client.open(connection)
  return { connection, channel, other, version: broker.version, outlast: broker.outlastAckTimeout }
})

const headersOf = (delivery: { readonly properties: { readonly headers?: unknown } }) =>
  (delivery.properties.headers ?? {}) as Readonly<Record<string, unknown>>

export const ackTimeouts = suite("acknowledgement timeouts", {
  "a message of a quorum queue that is never acknowledged closes its channel before 4.3, and counts as failed": Effect
    .gen(function*() {
      const { channel, other, outlast, version } = yield* withShortTimeout("quorum")
      if (version >= 4.03) return
      yield* Client.fill(channel, "q", "1")
      yield* Client.consume(channel, "q")
      yield* outlast
      const { reason, text } = yield* Client.closing(channel)
      assert.strictEqual(reason, "ChannelClosed")
      assert.match(
        text,
        /^PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out\. Timeout value used: \d+ ms\./
      )
      const got = yield* Client.take(other, "q")
      assert.deepStrictEqual([got.redelivered, headersOf(got)["x-delivery-count"]], [true, 1])
    }),
  "a message of a classic queue that is never acknowledged closes its channel before 4.3, and waits for ever since":
    Effect.gen(function*() {
      const { channel, other, outlast, version } = yield* withShortTimeout("classic")
      yield* Client.fill(channel, "q", "1")
      const consumer = yield* Client.consume(channel, "q")
      yield* consumer.next
      yield* outlast
      if (version < 4.03) {
        assert.strictEqual((yield* Client.closing(channel)).reason, "ChannelClosed")
        assert.deepStrictEqual(yield* Client.bodies(other, "q"), ["1"])
        return
      }
      assert.strictEqual((yield* other.checkQueue("q")).messageCount, 0)
      assert.isTrue(channel.ackUnsafe(1, false))
      yield* Client.settle
      assert.isTrue(channel.isOpen())
    }),
  "a message that is acknowledged in time keeps its channel": Effect.gen(function*() {
    const { channel, outlast } = yield* withShortTimeout("quorum")
    yield* Client.consume(channel, "q", { ack: true })
    yield* Client.fill(channel, "q", "1")
    yield* Client.settle
    yield* outlast
    assert.isTrue(channel.isOpen())
  }),
  "since 4.3 a quorum queue cancels a consumer that is late, takes the message back and keeps the channel": Effect.gen(
    function*() {
      const { channel, other, outlast, version } = yield* withShortTimeout("quorum")
      if (version < 4.03) return
      yield* Client.fill(channel, "q", "1")
      const consumer = yield* Client.consume(channel, "q")
      yield* consumer.next
      yield* outlast
      yield* Deferred.await(consumer.cancelled)
      assert.isTrue(channel.isOpen())
      const got = yield* Client.take(other, "q")
      assert.deepStrictEqual(
        [got.redelivered, headersOf(got)["x-acquired-count"], headersOf(got)["x-delivery-count"]],
        [true, 1, undefined]
      )
      yield* channel.cancel(consumer.tag)
      // The acknowledgement is stale: the broker accepts it once and forgets nothing but the tag.
      channel.ackUnsafe(1, false)
      yield* Client.settle
      assert.isTrue(channel.isOpen())
      other.nackUnsafe(got.deliveryTag, false, true)
      yield* Client.settle
      assert.strictEqual((yield* other.checkQueue("q")).messageCount, 1)
      channel.ackUnsafe(1, false)
      assert.strictEqual((yield* Client.closing(channel)).text, "PRECONDITION_FAILED - unknown delivery tag 1")
    }
  ),
  "since 4.3 a consumer that is late gets no other message until it settles the one that was taken back": Effect.gen(
    function*() {
      const { channel, other, outlast, version } = yield* withShortTimeout("quorum")
      if (version < 4.03) return
      yield* Client.fill(channel, "q", "1")
      const consumer = yield* Client.consume(channel, "q")
      yield* consumer.next
      yield* outlast
      yield* Deferred.await(consumer.cancelled)
      yield* Client.fill(other, "q", "2")
      yield* Client.settle
      assert.deepInclude(yield* other.checkQueue("q"), { messageCount: 2, consumerCount: 1 })
      yield* channel.cancel(consumer.tag)
      channel.ackUnsafe(1, false)
      yield* Client.settle
      assert.deepStrictEqual(yield* Client.bodies(other, "q"), ["1", "2"])
    }
  ),
  "since 4.3 a consumer that was cancelled for being late comes back when it settles, and the driver ends it": Effect
    .gen(
      function*() {
        const { channel, connection, other, outlast, version } = yield* withShortTimeout("quorum")
        if (version < 4.03) return
        yield* Client.fill(channel, "q", "1", "2")
        const consumer = yield* Client.consume(channel, "q")
        yield* consumer.next
        yield* outlast
        yield* Deferred.await(consumer.cancelled)
        channel.ackUnsafe(2, true)
        yield* Client.elapse("300 millis")
        assert.deepInclude(yield* other.checkQueue("q"), { messageCount: 2, consumerCount: 0 })
        assert.deepStrictEqual(consumer.received.map(Client.text), ["1", "2"])
        assert.deepStrictEqual([channel.isOpen(), connection.endings], [true, []])
      }
    ),
  ...rows(["classic", "quorum"] as const, (type) => [
    `since 4.3 x-consumer-timeout is the timeout of a quorum queue, and refused for others: ${type}`,
    Effect.gen(function*() {
      const { elapse, ownAckTimeout, version } = yield* Broker
      const connection = yield* Client.connect()
      const channel = yield* Client.open(connection)
      const args = { "x-queue-type": type, "x-consumer-timeout": ownAckTimeout }
      if (version < 4.03) return
      if (type === "classic") {
        assert.strictEqual(
          (yield* Client.failure(Client.queue(channel, "q", args))).text,
          "PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/' of queue type " +
            "rabbit_classic_queue"
        )
        return
      }
      yield* Client.queue(channel, "q", args)
      yield* Client.fill(channel, "q", "1")
      const consumer = yield* Client.consume(channel, "q")
      yield* consumer.next
      yield* elapse(ownAckTimeout + 500)
      yield* Deferred.await(consumer.cancelled)
    })
  ]),
  "since 4.3 x-consumer-timeout of a consumer goes before that of its queue": Effect.gen(function*() {
    const { elapse, ownAckTimeout, version } = yield* Broker
    if (version < 4.03) return
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "q", { "x-queue-type": "quorum", "x-consumer-timeout": 10_000_000 })
    yield* Client.fill(channel, "q", "1")
    const consumer = yield* Client.consume(channel, "q", { arguments: { "x-consumer-timeout": ownAckTimeout } })
    yield* consumer.next
    yield* elapse(ownAckTimeout + 500)
    yield* Deferred.await(consumer.cancelled)
  }),
  ...rows([[-1, "{value_negative,-1}"], ["x", "\"expected integer, got longstr\""]] as const, ([timeout, detail]) => [
    `since 4.3 x-consumer-timeout of ${timeout} is refused`,
    Effect.gen(function*() {
      const { version } = yield* Broker
      if (version < 4.03) return
      const connection = yield* Client.connect()
      const channel = yield* Client.open(connection)
      yield* Client.queue(channel, "q", { "x-queue-type": "quorum" })
      const text = `PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/': ${detail}`
      const args = { "x-consumer-timeout": timeout }
      assert.strictEqual((yield* Client.failure(Client.consume(channel, "q", { arguments: args }))).text, text)
      const other = yield* Client.open(connection)
      yield* other.deleteQueue("q", { ifUnused: false, ifEmpty: false })
      assert.strictEqual(
        (yield* Client.failure(Client.queue(other, "q", { "x-queue-type": "quorum", ...args }))).text,
        text
      )
    })
  ]),
  "since 4.3 a single active consumer that is late hands over to the next": Effect.gen(function*() {
    const { shortenAckTimeout, outlastAckTimeout, version } = yield* Broker
    if (version < 4.03) return
    yield* shortenAckTimeout
    const connection = yield* Client.connect()
    const late = yield* Client.open(connection)
    const other = yield* Client.open(connection)
    yield* Client.queue(late, "q", { "x-queue-type": "quorum", "x-single-active-consumer": true })
    const first = yield* Client.consume(late, "q")
    yield* Client.settle
    const second = yield* Client.consume(other, "q", { ack: true })
    yield* Client.fill(late, "q", "1", "2")
    // The queue looks for late messages now and then, and may find them one by one.
    yield* Effect.repeat(outlastAckTimeout, { times: 4, until: () => second.received.length >= 2 })
    assert.deepStrictEqual(first.received.map(Client.text), ["1", "2"])
    assert.deepStrictEqual(second.received.map(Client.text), ["1", "2"])
    late.ackUnsafe(2, true)
    yield* Client.fill(other, "q", "3")
    yield* Client.settle
    assert.deepStrictEqual(second.received.map(Client.text), ["1", "2", "3"])
  }),
  "since 4.3 a message whose consumer the client cancelled closes the channel when it is late": Effect.gen(function*() {
    const { channel, other, outlast, version } = yield* withShortTimeout("quorum")
    if (version < 4.03) return
    yield* Client.fill(channel, "q", "1")
    const consumer = yield* Client.consume(channel, "q")
    yield* consumer.next
    yield* channel.cancel(consumer.tag)
    yield* outlast
    assert.match((yield* Client.closing(channel)).text, /timed out\. Timeout value used: -1 ms\./)
    assert.deepStrictEqual(yield* Client.bodies(other, "q"), ["1"])
  }),
  "a message that was taken with get is late like any other": Effect.gen(function*() {
    const { channel, other, outlast } = yield* withShortTimeout("quorum")
    yield* Client.fill(channel, "q", "1")
    yield* Client.take(channel, "q")
    yield* outlast
    assert.match((yield* Client.closing(channel)).text, /^PRECONDITION_FAILED - delivery acknowledgement on channel 1/)
    assert.deepStrictEqual(yield* Client.bodies(other, "q"), ["1"])
  })
})
