import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Arguments } from "effect-amqp/AmqpDriver"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

const withQuorum = Effect.fnUntraced(function*(args: Arguments = {}) {
  const channel = yield* Client.session
  yield* Client.queue(channel, "q", { "x-queue-type": "quorum", ...args })
  return channel
})

const count = (delivery: { readonly properties: { readonly headers?: Arguments | undefined } }) =>
  delivery.properties.headers?.["x-delivery-count"]

const acquired = (delivery: { readonly properties: { readonly headers?: Arguments | undefined } }) =>
  delivery.properties.headers?.["x-acquired-count"]

/** Take a message and close the channel without acknowledging it. */
const abandon = Effect.fnUntraced(function*(name: string) {
  const channel = yield* Client.session
  yield* Client.take(channel, name)
  yield* channel.close
  yield* Client.settle
})

const until = (isSo: () => boolean) => Effect.repeat(Client.elapse("50 millis"), { until: isSo, times: 200 })

/** What `basic.get` says of a message that was never delivered before. */
const countOfNone = Effect.map(Broker, ({ version }) => version < 4 ? 0 : undefined)

export const quorumQueues = suite("quorum queues", {
  "a quorum queue hands messages out in order": Effect.gen(function*() {
    const channel = yield* withQuorum()
    yield* Client.fill(channel, "q", "1", "2", "3")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1", "2", "3"])
  }),
  "a nack that requeues counts as a failed delivery before 4.3": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withQuorum()
    yield* Client.fill(channel, "q", "1")
    const none = yield* countOfNone
    for (const returns of [0, 1, 2]) {
      const got = yield* Client.take(channel, "q")
      assert.strictEqual(count(got), returns === 0 || version >= 4.03 ? none : returns)
      assert.strictEqual(acquired(got), returns > 0 && version >= 4.03 ? returns : undefined)
      assert.strictEqual(got.redelivered, returns > 0)
      channel.nackUnsafe(got.deliveryTag, false, true)
      yield* Client.settle
    }
  }),
  "a reject that requeues counts as a failed delivery": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withQuorum()
    yield* Client.fill(channel, "q", "1")
    const none = yield* countOfNone
    for (const returns of [0, 1, 2]) {
      const got = yield* Client.take(channel, "q")
      assert.strictEqual(count(got), returns === 0 ? none : returns)
      assert.strictEqual(acquired(got), returns > 0 && version >= 4.03 ? returns : undefined)
      assert.strictEqual(got.redelivered, returns > 0)
      channel.rejectUnsafe(got.deliveryTag, true)
      yield* Client.settle
    }
  }),
  "a consumer is told of failed deliveries, and since 4.3 of those that were given back": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withQuorum()
    yield* channel.prefetch(1)
    yield* Client.fill(channel, "q", "1")
    const consumer = yield* Client.consume(channel, "q")
    const told: Array<unknown> = []
    for (const way of ["nack", "reject", "nack"] as const) {
      const delivery = yield* consumer.next
      told.push([acquired(delivery), count(delivery)])
      if (way === "nack") channel.nackUnsafe(delivery.deliveryTag, false, true)
      else channel.rejectUnsafe(delivery.deliveryTag, true)
    }
    const last = yield* consumer.next
    told.push([acquired(last), count(last)])
    assert.deepStrictEqual(
      told,
      version < 4.03
        ? [[undefined, undefined], [undefined, 1], [undefined, 2], [undefined, 3]]
        : [[undefined, undefined], [1, undefined], [2, 1], [3, 1]]
    )
  }),
  "a message that is nacked for ever meets its delivery limit before 4.3, and never since": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withQuorum({ "x-delivery-limit": 2 })
    yield* Client.fill(channel, "q", "1")
    for (let i = 0; i < 3; i++) {
      channel.nackUnsafe((yield* Client.take(channel, "q")).deliveryTag, false, true)
      yield* Client.settle
    }
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), version < 4.03 ? [] : ["1"])
  }),
  "a message that is rejected for ever meets its delivery limit": Effect.gen(function*() {
    const channel = yield* withQuorum({ "x-delivery-limit": 2 })
    yield* Client.fill(channel, "q", "1")
    for (let i = 0; i < 3; i++) {
      channel.rejectUnsafe((yield* Client.take(channel, "q")).deliveryTag, true)
      yield* Client.settle
    }
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "a delivery limit of -1 is none since 4.0, and dead-letters at the first return before": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withQuorum({
      "x-delivery-limit": -1,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "dead"
    })
    yield* Client.queue(channel, "dead")
    yield* Client.fill(channel, "q", "1")
    for (let i = 0; i < (version < 4 ? 1 : 25); i++) yield* abandon("q")
    assert.deepStrictEqual(
      [yield* Client.bodies(channel, "q"), yield* Client.bodies(channel, "dead")],
      version < 4 ? [[], ["1"]] : [["1"], []]
    )
  }),
  "a dead letter that failed takes its counts into the next quorum queue since 4.3": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withQuorum({
      "x-delivery-limit": 1,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "dead"
    })
    yield* Client.queue(channel, "dead", { "x-queue-type": "quorum", "x-delivery-limit": 1 })
    yield* Client.fill(channel, "q", "1")
    for (let i = 0; i < 2; i++) {
      channel.rejectUnsafe((yield* Client.take(channel, "q")).deliveryTag, true)
      yield* Client.settle
    }
    const got = yield* Client.take(channel, "dead")
    assert.deepStrictEqual(
      [got.redelivered, acquired(got), count(got)],
      version < 4.03 ? [false, undefined, yield* countOfNone] : [true, 2, 2]
    )
    channel.rejectUnsafe(got.deliveryTag, true)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "dead"), version < 4.03 ? ["1"] : [])
  }),
  "a dead letter is marked as redelivered since 4.3 when a reject dead-lettered it, and not when a nack did": Effect
    .gen(
      function*() {
        const { version } = yield* Broker
        const channel = yield* withQuorum({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead" })
        yield* Client.queue(channel, "dead")
        yield* Client.fill(channel, "q", "rejected", "nacked")
        channel.rejectUnsafe((yield* Client.take(channel, "q")).deliveryTag, false)
        yield* Client.settle
        channel.nackUnsafe((yield* Client.take(channel, "q")).deliveryTag, false, false)
        yield* Client.settle
        const dead = yield* Client.drain(channel, "dead")
        assert.deepStrictEqual(dead.map((delivery) => [Client.text(delivery), delivery.redelivered]), [
          ["rejected", version >= 4.03],
          ["nacked", false]
        ])
      }
    ),
  "a message whose channel closed counts its deliveries": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "q", { "x-queue-type": "quorum" })
    yield* Client.fill(channel, "q", "1")
    for (const expected of [yield* countOfNone, 1, 2]) {
      const other = yield* Client.open(connection)
      assert.strictEqual(count(yield* Client.take(other, "q")), expected)
      yield* other.close
      yield* Client.settle
    }
  }),
  "a message that comes back more often than the limit is dead-lettered": Effect.gen(function*() {
    const channel = yield* withQuorum({
      "x-delivery-limit": 1,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "dead"
    })
    yield* Client.queue(channel, "dead")
    yield* Client.fill(channel, "q", "1")
    yield* abandon("q")
    yield* abandon("q")
    const got = yield* Client.take(channel, "dead")
    const death = got.properties.headers?.["x-death"] as ReadonlyArray<Readonly<Record<string, unknown>>>
    assert.deepStrictEqual([death[0]?.["reason"], death[0]?.["queue"], death[0]?.["count"]], ["delivery_limit", "q", 1])
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "a message comes back 20 times at most since 4.0 where the queue gives no limit": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withQuorum()
    yield* Client.fill(channel, "q", "1")
    for (let i = 0; i < 20; i++) yield* abandon("q")
    assert.strictEqual((yield* channel.checkQueue("q")).messageCount, 1)
    yield* abandon("q")
    assert.strictEqual((yield* channel.checkQueue("q")).messageCount, version < 4 ? 1 : 0)
  }),
  "a message that comes back more often than the limit is dropped where there are no dead letters": Effect.gen(
    function*() {
      const channel = yield* withQuorum({ "x-delivery-limit": 0 })
      yield* Client.fill(channel, "q", "1")
      yield* abandon("q")
      assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
    }
  ),
  "a first delivery to a consumer carries no count": Effect.gen(function*() {
    const channel = yield* withQuorum()
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1")
    assert.isUndefined(count(yield* consumer.next))
  }),
  "messages that were refused without a limit go behind the others before 4.3": Effect.gen(function*() {
    const { version } = yield* Broker
    // Since 4.0 a queue that says nothing has a limit.
    const channel = yield* withQuorum(version < 4 ? {} : { "x-delivery-limit": -1 })
    yield* Client.fill(channel, "q", "1", "2", "3", "4")
    for (let i = 0; i < 3; i++) yield* Client.take(channel, "q")
    channel.nackUnsafe(2, false, true)
    yield* Client.settle
    channel.rejectUnsafe(1, true)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), version < 4.03 ? ["4", "2", "1"] : ["2", "1", "4"])
  }),
  "messages that came back are handed out before the others, in the order in which they came back": Effect.gen(
    function*() {
      const channel = yield* withQuorum({ "x-delivery-limit": 5 })
      yield* Client.fill(channel, "q", "1", "2", "3", "4")
      for (let i = 0; i < 3; i++) yield* Client.take(channel, "q")
      channel.nackUnsafe(2, false, true)
      yield* Client.settle
      channel.nackUnsafe(1, false, true)
      yield* Client.settle
      assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["2", "1", "4"])
    }
  ),
  "closing a channel gives the messages of a quorum queue back": Effect.gen(function*() {
    const channel = yield* withQuorum()
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.take(channel, "q")
    yield* Client.take(channel, "q")
    yield* channel.close
    yield* Client.settle
    const got = yield* Client.drain(yield* Client.session, "q")
    assert.deepStrictEqual(got.map((delivery) => [Client.text(delivery), count(delivery)]), [
      ["1", 1],
      ["2", 1],
      ["3", yield* countOfNone]
    ])
  }),
  ...rows(["one nack", "a nack each"] as const, (way) => [
    `many messages that ${way} gives back as their channel closes count ` +
    (way === "one nack" ? "none since 4.3" : "in part since 4.3, when the end overtakes them"),
    Effect.gen(function*() {
      const { version } = yield* Broker
      const channel = yield* withQuorum()
      yield* Client.fill(channel, "q", ...Array.from({ length: 200 }, (_, i) => String(i)))
      const connection = yield* Client.connect()
      const first = yield* Client.open(connection)
      yield* first.prefetch(300)
      const { received } = yield* Client.consume(first, "q", { tag: "first" })
      yield* until(() => received.length === 200)
      yield* first.cancel("first")
      if (way === "one nack") first.nackUnsafe(200, true, true)
      else for (const { deliveryTag } of received) first.nackUnsafe(deliveryTag, false, true)
      yield* first.close
      const second = yield* Client.open(connection)
      yield* second.prefetch(300)
      const again = yield* Client.consume(second, "q")
      yield* until(() => again.received.length === 200)
      const counted = again.received.filter((delivery) => count(delivery) !== undefined).length
      if (version < 4.03) assert.strictEqual(counted, 200)
      else if (way === "one nack") assert.strictEqual(counted, 0)
      else assert.isAbove(counted, 0)
    })
  ]),
  "a quorum queue drops from its head when it is full": Effect.gen(function*() {
    const channel = yield* withQuorum({ "x-max-length": 2 })
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["2", "3"])
  }),
  "messages of a quorum queue expire": Effect.gen(function*() {
    const channel = yield* withQuorum({ "x-message-ttl": 100 })
    yield* Client.fill(channel, "q", "1")
    yield* Client.elapse("500 millis")
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "a rejected message of a quorum queue is dead-lettered": Effect.gen(function*() {
    const channel = yield* withQuorum({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead" })
    yield* Client.queue(channel, "dead")
    yield* Client.fill(channel, "q", "1")
    const got = yield* Client.take(channel, "q")
    channel.rejectUnsafe(got.deliveryTag, false)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "dead"), ["1"])
  }),
  "a quorum queue has no priorities before 4.0, two that share it since, and 32 that are strict since 4.3": Effect.gen(
    function*() {
      const { version } = yield* Broker
      const channel = yield* withQuorum()
      const priorities = [undefined, 0, 3, 4, 5, 9, 31, 32, 255, 2]
      for (const [i, priority] of priorities.entries()) {
        yield* Client.publish(channel, { routingKey: "q", body: `${i}`, properties: { priority } })
      }
      assert.strictEqual(
        (yield* Client.bodies(channel, "q")).join(" "),
        version < 4 ? "0 1 2 3 4 5 6 7 8 9" : version < 4.03 ? "4 5 0 6 7 1 8 2 3 9" : "6 7 8 5 4 0 3 2 9 1"
      )
    }
  ),
  "a message that comes back to a quorum queue goes before those of a higher priority": Effect.gen(function*() {
    const channel = yield* withQuorum({ "x-delivery-limit": 5 })
    yield* Client.fill(channel, "q", "1", "2")
    const got = yield* Client.take(channel, "q")
    yield* Client.publish(channel, { routingKey: "q", body: "high", properties: { priority: 9 } })
    channel.rejectUnsafe(got.deliveryTag, true)
    yield* Client.settle
    assert.strictEqual((yield* Client.bodies(channel, "q"))[0], "1")
  }),
  "prefetch bounds a consumer of a quorum queue": Effect.gen(function*() {
    const channel = yield* withQuorum()
    yield* channel.prefetch(2)
    const consumer = yield* Client.consume(channel, "q")
    yield* Client.fill(channel, "q", "1", "2", "3")
    yield* Client.settle
    assert.deepStrictEqual(consumer.received.map(Client.text), ["1", "2"])
    channel.ackUnsafe(2, true)
    assert.deepStrictEqual(
      [yield* consumer.next, yield* consumer.next, yield* consumer.next].map(Client.text),
      ["1", "2", "3"]
    )
  })
})
