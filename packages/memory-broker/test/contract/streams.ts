import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Arguments, DriverDelivery } from "effect-amqp/AmqpDriver"
import type { HeaderValue } from "effect-amqp/AmqpMessage"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

const withStream = Effect.fnUntraced(function*(args: Arguments = {}) {
  const { version } = yield* Broker
  const connection = yield* Client.connect()
  const channel = yield* Client.open(connection)
  yield* Client.queue(channel, "s", { "x-queue-type": "stream", ...args })
  return { version, connection, channel }
})

const offsetOf = (delivery: DriverDelivery) => delivery.properties.headers?.["x-stream-offset"]

/** Read on a channel of its own, from an offset. */
const read = Effect.fnUntraced(function*(
  connection: Client.Connection,
  offset: Arguments[string] | undefined,
  options: { readonly prefetch?: number; readonly ack?: boolean; readonly filter?: Arguments } = {}
) {
  const channel = yield* Client.open(connection)
  yield* channel.prefetch(options.prefetch ?? 100)
  const reader = yield* Client.consume(channel, "s", {
    arguments: { ...(offset === undefined ? {} : { "x-stream-offset": offset }), ...options.filter },
    ack: options.ack ?? false
  })
  yield* Client.elapse("300 millis")
  return { ...reader, channel, bodies: () => reader.received.map(Client.text) }
})

/** Publish one after the other, so that each message is where another begins. */
const append = Effect.fnUntraced(function*(channel: Client.Channel, ...bodies: ReadonlyArray<string>) {
  yield* Client.fill(channel, "s", ...bodies)
  yield* Client.elapse("200 millis")
})

/** Append a message with a filter value, or without one, in a chunk of its own. */
const appendFiltered = Effect.fnUntraced(function*(channel: Client.Channel, body: string, value?: HeaderValue) {
  yield* Client.publish(channel, {
    routingKey: "s",
    body,
    properties: { headers: value === undefined ? {} : { "x-stream-filter-value": value } }
  })
  yield* Client.elapse("200 millis")
})

export const streams = suite("streams", {
  "a message of a stream carries its offset and is never marked as redelivered": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    yield* append(channel, "1", "2")
    const { received } = yield* read(connection, "first")
    assert.deepStrictEqual(received.map((one) => [Client.text(one), offsetOf(one), one.redelivered]), [
      ["1", 0, false],
      ["2", 1, false]
    ])
  }),
  ...rows(
    [
      ["first", "first", ["1", "2", "3", "4"]],
      ["last", "last", ["3", "4"]],
      ["next", "next", ["4"]],
      ["none", undefined, ["4"]],
      ["a number", 2, ["3", "4"]],
      ["a negative number", -1, ["1", "2", "3", "4"]],
      ["a number beyond the end", 1000, []],
      ["an age", "1h", ["1", "2", "3", "4"]],
      ["a time that is past", new Date(0), ["1", "2", "3", "4"]]
    ] as const,
    ([name, offset, expected]) => [
      `a reader with the offset ${name} begins there`,
      Effect.gen(function*() {
        const { channel, connection } = yield* withStream()
        for (const body of ["1", "2", "3"]) yield* append(channel, body)
        const reader = yield* read(connection, offset)
        yield* append(channel, "4")
        assert.deepStrictEqual(reader.bodies(), [...expected])
      })
    ]
  ),
  "readers do not take messages from each other, and what they acknowledge stays": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    yield* append(channel, "1", "2")
    const a = yield* read(connection, "first", { ack: true })
    const b = yield* read(connection, "first", { ack: true })
    yield* a.channel.close
    const c = yield* read(connection, "first")
    assert.deepStrictEqual([a.bodies(), b.bodies(), c.bodies()], [["1", "2"], ["1", "2"], ["1", "2"]])
  }),
  "acknowledgements give a reader of a stream more": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    for (const body of ["1", "2", "3"]) yield* append(channel, body)
    const reader = yield* read(connection, "first", { prefetch: 2 })
    assert.deepStrictEqual(reader.bodies(), ["1", "2"])
    reader.channel.ackUnsafe(2, true)
    yield* Client.elapse("200 millis")
    assert.deepStrictEqual(reader.bodies(), ["1", "2", "3"])
  }),
  "a reader of a stream needs a prefetch": Effect.gen(function*() {
    const { channel, version } = yield* withStream()
    const what = version < 4 ? "'queue 's' in vhost '/''" : "stream queue 's' in vhost '/'"
    assert.strictEqual(
      (yield* Client.failure(Client.consume(channel, "s"))).text,
      `PRECONDITION_FAILED - consumer prefetch count is not set for ${what}`
    )
  }),
  "a reader of a stream has to acknowledge": Effect.gen(function*() {
    const { channel, connection, version } = yield* withStream()
    yield* channel.prefetch(1)
    yield* Client.failure(Client.consume(channel, "s", { noAck: true }))
    assert.strictEqual(
      (yield* Client.ending(connection)).text,
      `NOT_IMPLEMENTED - automatic acknowledgement not supported by ${
        version < 4 ? "stream queues" : "stream"
      } queue 's' in vhost '/'`
    )
  }),
  "a reader of a stream has no priority": Effect.gen(function*() {
    const { channel } = yield* withStream()
    yield* channel.prefetch(1)
    assert.strictEqual(
      (yield* Client.failure(Client.consume(channel, "s", { arguments: { "x-priority": 1 } }))).text,
      "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 's' in vhost '/' of queue type rabbit_stream_queue"
    )
  }),
  ...rows(["nack", "reject"] as const, (way) => [
    `a ${way} on a stream closes the connection before 4.0, and counts as an ack since`,
    Effect.gen(function*() {
      const { channel, connection, version } = yield* withStream()
      for (const body of ["1", "2"]) yield* append(channel, body)
      const reader = yield* read(connection, "first", { prefetch: 1 })
      if (way === "nack") reader.channel.nackUnsafe(1, false, true)
      else reader.channel.rejectUnsafe(1, false)
      if (version < 4) {
        assert.strictEqual(
          (yield* Client.ending(connection)).text,
          "NOT_IMPLEMENTED - basic.nack and basic.reject not supported by stream queues queue 's' in vhost '/'"
        )
        return
      }
      yield* Client.elapse("200 millis")
      assert.deepStrictEqual(reader.bodies(), ["1", "2"])
    })
  ]),
  "basic.get on a stream closes the connection": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    yield* Client.failure(channel.get("s", { noAck: false }))
    assert.strictEqual(
      (yield* Client.ending(connection)).text,
      "NOT_IMPLEMENTED - basic.get not supported by stream queues queue 's' in vhost '/'"
    )
  }),
  "queue.purge on a stream closes the connection": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    yield* Client.failure(channel.purgeQueue("s"))
    assert.strictEqual(
      (yield* Client.ending(connection)).text,
      "NOT_IMPLEMENTED - queue.purge not supported by stream queues queue 's' in vhost '/'"
    )
  }),
  ...rows([{ ifEmpty: true, ifUnused: false }, { ifEmpty: false, ifUnused: true }], (options) => [
    `a stream with messages and a reader is deleted ${options.ifEmpty ? "if empty" : "if unused"}`,
    Effect.gen(function*() {
      const { channel, connection } = yield* withStream()
      yield* append(channel, "1")
      yield* read(connection, "first")
      assert.strictEqual(yield* channel.deleteQueue("s", options), 0)
    })
  ]),
  ...rows(["nonsense", ""], (offset) => [
    `an offset of text "${offset}" closes the connection before 4.3, and the channel since`,
    Effect.gen(function*() {
      const { channel, connection, version } = yield* withStream()
      yield* channel.prefetch(1)
      const refused = yield* Client.failure(Client.consume(channel, "s", { arguments: { "x-stream-offset": offset } }))
      if (version < 4.03) {
        assert.strictEqual((yield* Client.ending(connection)).text, "INTERNAL_ERROR")
        return
      }
      assert.strictEqual(
        refused.text,
        "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 's' in vhost '/': " +
          `{invalid_stream_offset_arg,{longstr,${offset === "" ? "<<>>" : `<<"${offset}">>`}}}`
      )
    })
  ]),
  ...rows(
    [["a fraction", 1.5], ["a boolean", true], ["null", null], ["a list", ["first"]], ["a table", { a: 1 }]] as const,
    ([name, offset]) => [
      `an offset that is ${name} closes the connection`,
      Effect.gen(function*() {
        const { channel, connection } = yield* withStream()
        yield* channel.prefetch(1)
        yield* Client.failure(Client.consume(channel, "s", { arguments: { "x-stream-offset": offset } }))
        assert.strictEqual((yield* Client.ending(connection)).text, "INTERNAL_ERROR")
      })
    ]
  ),
  ...rows(
    [
      "x-max-length",
      "x-message-ttl",
      "x-expires",
      "x-max-priority",
      "x-delivery-limit"
    ],
    (name) => [
      `a stream has no ${name}`,
      Effect.gen(function*() {
        const channel = yield* Client.session
        assert.strictEqual(
          (yield* Client.failure(Client.queue(channel, "s", { "x-queue-type": "stream", [name]: 10 }))).text,
          `PRECONDITION_FAILED - invalid arg '${name}' for queue 's' in vhost '/' of queue type rabbit_stream_queue`
        )
      })
    ]
  ),
  ...rows(
    [["non-durable", { durable: false }], ["exclusive-owner", { exclusive: true }], ["auto-delete", {
      autoDelete: true
    }]] as const,
    ([property, options]) => [
      `a stream is not ${property}`,
      Effect.gen(function*() {
        const channel = yield* Client.session
        assert.strictEqual(
          (yield* Client.failure(Client.queue(channel, "s", { "x-queue-type": "stream" }, options))).text,
          `PRECONDITION_FAILED - invalid property '${property}' for queue 's' in vhost '/'`
        )
      })
    ]
  ),
  ...rows(
    [["1x", "invalid_max_age"], [3, "{unacceptable_type,byte}"]] as const,
    ([age, detail]) => [
      `a stream refuses the age ${age}`,
      Effect.gen(function*() {
        const channel = yield* Client.session
        assert.strictEqual(
          (yield* Client.failure(Client.queue(channel, "s", { "x-queue-type": "stream", "x-max-age": age }))).text,
          `PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 's' in vhost '/': ${detail}`
        )
      })
    ]
  ),
  ...rows(["classic", "quorum"], (type) => [
    `a ${type} queue has no x-max-age`,
    Effect.gen(function*() {
      const channel = yield* Client.session
      assert.strictEqual(
        (yield* Client.failure(Client.queue(channel, "q", { "x-queue-type": type, "x-max-age": "1h" }))).text,
        `PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type rabbit_${type}_queue`
      )
    })
  ]),
  "a stream that is too long loses its oldest segments": Effect.gen(function*() {
    const { channel, connection } = yield* withStream({
      "x-max-length-bytes": 20_000,
      "x-stream-max-segment-size-bytes": 5000
    })
    for (let i = 0; i < 60; i++) yield* Client.fill(channel, "s", String(i).padEnd(1000, "."))
    yield* Client.elapse("1 second")
    const { received } = yield* read(connection, "first", { ack: true })
    const numbers = received.map((one) => Number.parseInt(Client.text(one)))
    const [first = 0] = numbers
    assert.isAbove(first, 0)
    assert.isBelow(first, 59)
    assert.deepStrictEqual(numbers, Array.from({ length: 60 - first }, (_, i) => first + i))
  }),
  "every segment of a stream but the first takes an offset for itself": Effect.gen(function*() {
    const { channel, connection } = yield* withStream({ "x-stream-max-segment-size-bytes": 5000 })
    for (let i = 0; i < 20; i++) yield* Client.fill(channel, "s", String(i).padEnd(1000, "."))
    const { received } = yield* read(connection, "first", { ack: true })
    assert.deepStrictEqual(
      received.map((one) => Number.parseInt(Client.text(one))),
      Array.from({ length: 20 }, (_, i) => i)
    )
    const offsets = received.map((one) => Number(offsetOf(one)))
    const steps = offsets.slice(1).map((offset, i) => offset - offsets[i]!)
    assert.strictEqual(offsets[0], 0)
    assert.deepStrictEqual(new Set(steps), new Set([1, 2]))
    assert.isBelow(steps.filter((step) => step === 2).length, 10)
  }),
  "who comes, or stands, where a stream has dropped its messages goes on at the first that is left": Effect.gen(
    function*() {
      const { channel, connection } = yield* withStream({
        "x-max-length-bytes": 20_000,
        "x-stream-max-segment-size-bytes": 5000
      })
      yield* Client.fill(channel, "s", "0".padEnd(1000, "."), "1".padEnd(1000, "."))
      const standing = yield* Client.open(connection)
      yield* standing.prefetch(1)
      const slow = yield* Client.consume(standing, "s", { arguments: { "x-stream-offset": "first" } })
      const begun = yield* slow.next
      for (let i = 2; i < 60; i++) yield* Client.fill(channel, "s", String(i).padEnd(1000, "."))
      yield* Client.elapse("1 second")
      const { received: left } = yield* read(connection, "first", { ack: true })
      const first = Number(offsetOf(left[0]!))
      assert.isAbove(first, 20)
      const { received } = yield* read(connection, 1, { ack: true })
      // A node drops segments when it gets round to it.
      const found = Number(offsetOf(received[0]!))
      assert.isAtLeast(found, first)
      for (let at = Number(offsetOf(begun)), delivery = begun; at < found;) {
        standing.ackUnsafe(delivery.deliveryTag, false)
        delivery = yield* Client.passingUntil(slow.next)
        const next = Number(offsetOf(delivery))
        // It gets what was read before the rest was dropped, and then what is left.
        assert.isTrue(next <= at + 2 || next >= first, `${at} ${next}`)
        at = next
      }
      yield* standing.close
    }
  ),
  "dead letters can go into a stream since 4.0, and are lost on the way before": Effect.gen(function*() {
    const { channel, connection, version } = yield* withStream()
    yield* Client.queue(channel, "q", { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "s" })
    yield* Client.fill(channel, "q", "1")
    channel.rejectUnsafe((yield* Client.take(channel, "q")).deliveryTag, false)
    yield* Client.elapse("300 millis")
    assert.deepStrictEqual((yield* read(connection, "first")).bodies(), version < 4 ? [] : ["1"])
  }),
  ...rows(
    [
      ["one value", { "x-stream-filter": "eu" }, "1 4"],
      ["several values", { "x-stream-filter": ["eu", "us"] }, "1 2 4"],
      ["a value and what has none", { "x-stream-filter": "us", "x-stream-match-unfiltered": true }, "2 3"],
      ["the empty value, which is what has none", { "x-stream-filter": "" }, "3"],
      ["a value that no message has", { "x-stream-filter": "asia" }, ""],
      ["what has none, without a value", { "x-stream-match-unfiltered": true }, "1 2 3 4"],
      ["a number, which is no filter", { "x-stream-filter": 5 }, "1 2 3 4"]
    ] as const,
    ([name, filter, expected]) => [
      `a reader that filters ${name} gets that, and before 3.13 everything`,
      Effect.gen(function*() {
        const { channel, connection, version } = yield* withStream()
        yield* appendFiltered(channel, "1", "eu")
        yield* appendFiltered(channel, "2", "us")
        yield* appendFiltered(channel, "3")
        yield* appendFiltered(channel, "4", "eu")
        const { bodies } = yield* read(connection, "first", { filter })
        assert.strictEqual(bodies().join(" "), version < 3.13 ? "1 2 3 4" : expected)
      })
    ]
  ),
  "a reader that filters gets what comes later, at its offset, whatever its prefetch": Effect.gen(function*() {
    const { channel, connection, version } = yield* withStream()
    const reader = yield* read(connection, "first", {
      ack: true,
      prefetch: 1,
      filter: { "x-stream-filter": "eu" }
    })
    for (const body of ["1", "2", "3", "4"]) yield* appendFiltered(channel, body, body === "3" ? "eu" : "us")
    yield* Client.elapse("300 millis")
    assert.deepStrictEqual(
      reader.received.map((one) => `${Client.text(one)} at ${String(offsetOf(one))}`),
      version < 3.13 ? ["1 at 0", "2 at 1", "3 at 2", "4 at 3"] : ["3 at 2"]
    )
  }),
  ...rows([["is empty", []], ["has a number", [5]]] as const, ([name, filter]) => [
    `a filter that ${name} closes the connection since 3.13`,
    Effect.gen(function*() {
      const { channel, connection, version } = yield* withStream()
      yield* channel.prefetch(1)
      const consume = Client.consume(channel, "s", { arguments: { "x-stream-filter": [...filter] } })
      if (version < 3.13) {
        yield* consume
        return
      }
      yield* Client.failure(consume)
      assert.strictEqual((yield* Client.ending(connection)).text, "INTERNAL_ERROR")
    })
  ]),
  ...rows([["a number", 5], ["a boolean", true], ["null", null], ["a list", ["eu"]]] as const, ([name, value]) => [
    `a message whose filter value is ${name} closes the connection since 3.13, and only in a stream`,
    Effect.gen(function*() {
      const { channel, connection, version } = yield* withStream()
      yield* Client.queue(channel, "q")
      const headers = { "x-stream-filter-value": value as HeaderValue }
      yield* Client.publish(channel, { routingKey: "q", body: "1", properties: { headers } })
      assert.strictEqual((yield* channel.checkQueue("q")).messageCount, 1)
      channel.publishUnsafe({
        exchange: "",
        routingKey: "s",
        mandatory: false,
        properties: { headers },
        body: new Uint8Array()
      })
      if (version < 3.13) assert.isTrue(yield* channel.confirmed(2))
      else assert.strictEqual((yield* Client.ending(connection)).text, "INTERNAL_ERROR")
    })
  ]),
  "readers of a stream cannot shut each other out": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    yield* append(channel, "1")
    const received: Array<ReadonlyArray<DriverDelivery>> = []
    for (let i = 0; i < 2; i++) {
      const channel = yield* Client.open(connection)
      yield* channel.prefetch(10)
      const reader = yield* Client.consume(channel, "s", {
        exclusive: true,
        arguments: { "x-stream-offset": "first" },
        ack: false
      })
      received.push(reader.received)
    }
    yield* Client.elapse("300 millis")
    assert.deepStrictEqual(received.map((one) => one.map(Client.text)), [["1"], ["1"]])
  }),
  "the end of a stream is known when the channel of a reader from the last chunk answers": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    const ends: Array<number | undefined> = []
    const look = Effect.gen(function*() {
      const channel = yield* Client.open(connection)
      yield* channel.prefetch(10)
      const { received } = yield* Client.consume(channel, "s", {
        arguments: { "x-stream-offset": "last" },
        ack: false
      })
      for (let known = 0;; known = received.length) {
        yield* channel.prefetch(10)
        const last = received.at(-1)
        if (last === undefined || received.length === known) break
        channel.ackUnsafe(last.deliveryTag, true)
      }
      const last = received.at(-1)
      ends.push(last === undefined ? undefined : Number(offsetOf(last)))
      yield* channel.close
    })
    yield* look
    for (let i = 0; i < 50; i++) yield* Client.fill(channel, "s", String(i))
    yield* look
    assert.deepStrictEqual(ends, [undefined, 49])
  }),
  "dead letters that go at least once reach a stream": Effect.gen(function*() {
    const { channel, connection } = yield* withStream()
    yield* Client.queue(channel, "q", {
      "x-queue-type": "quorum",
      "x-overflow": "reject-publish",
      "x-message-ttl": 100,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "s",
      "x-dead-letter-strategy": "at-least-once"
    })
    yield* Client.fill(channel, "q", "1")
    yield* Client.elapse("2 seconds")
    assert.deepStrictEqual((yield* read(connection, "first")).bodies(), ["1"])
  })
})
