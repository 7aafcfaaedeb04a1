import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Arguments, DriverDelivery } from "effect-amqp/AmqpDriver"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { suite } from "./Suite.ts"

/** A queue `q` that dead-letters through `dlx` into `dead`. */
const withDeadLetters = Effect.fnUntraced(function*(args: Arguments = {}) {
  const channel = yield* Client.session
  yield* Client.exchange(channel, "dlx", "fanout")
  yield* Client.queue(channel, "dead")
  yield* Client.bind(channel, "dead", "dlx")
  yield* Client.queue(channel, "q", { "x-dead-letter-exchange": "dlx", ...args })
  return channel
})

type Death = Readonly<Record<string, unknown>>

/** The deaths that a delivery tells of, without their times. */
const deaths = (delivery: DriverDelivery): ReadonlyArray<Death> => {
  const all = delivery.properties.headers?.["x-death"]
  assert.isTrue(Array.isArray(all))
  return (all as ReadonlyArray<Death>).map((death) => {
    assert.instanceOf(death["time"], Date)
    return Object.fromEntries(Object.entries(death).filter(([name]) => name !== "time"))
  })
}

const firstDeath = (delivery: DriverDelivery) => {
  const headers = delivery.properties.headers ?? {}
  return [headers["x-first-death-reason"], headers["x-first-death-queue"], headers["x-first-death-exchange"]]
}

const reject = Effect.fnUntraced(function*(channel: Client.Channel, name: string) {
  const got = yield* Client.take(channel, name)
  channel.nackUnsafe(got.deliveryTag, false, false)
  yield* Client.settle
})

export const deadLettering = suite("dead letters", {
  "a rejected message is dead-lettered with its story": Effect.gen(function*() {
    const channel = yield* withDeadLetters()
    yield* Client.publish(channel, {
      routingKey: "q",
      body: "1",
      properties: { messageId: "m", deliveryMode: 2, headers: { mine: "kept" } }
    })
    yield* reject(channel, "q")
    const got = yield* Client.take(channel, "dead")
    assert.deepStrictEqual(deaths(got), [
      { count: 1, reason: "rejected", queue: "q", exchange: "", "routing-keys": ["q"] }
    ])
    assert.deepStrictEqual(firstDeath(got), ["rejected", "q", ""])
    assert.strictEqual(got.properties.headers?.["mine"], "kept")
    assert.deepStrictEqual([got.exchange, got.routingKey, Client.text(got)], ["dlx", "q", "1"])
    assert.deepStrictEqual([got.properties.messageId, got.properties.deliveryMode, got.redelivered], ["m", 2, false])
  }),
  "a dead letter names its last death since 4.0": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withDeadLetters()
    yield* Client.fill(channel, "q", "1")
    yield* reject(channel, "q")
    const headers = (yield* Client.take(channel, "dead")).properties.headers ?? {}
    assert.deepStrictEqual(
      [headers["x-last-death-reason"], headers["x-last-death-queue"], headers["x-last-death-exchange"]],
      version < 4 ? [undefined, undefined, undefined] : ["rejected", "q", ""]
    )
  }),
  "rejecting several dead-letters them in order": Effect.gen(function*() {
    const channel = yield* withDeadLetters()
    yield* Client.fill(channel, "q", "1", "2", "3")
    for (let i = 0; i < 3; i++) yield* Client.take(channel, "q")
    channel.nackUnsafe(3, true, false)
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "dead"), ["1", "2", "3"])
  }),
  "a message that expires in its queue is dead-lettered": Effect.gen(function*() {
    const channel = yield* withDeadLetters({ "x-message-ttl": 100 })
    yield* Client.fill(channel, "q", "1")
    yield* Client.elapse("400 millis")
    const got = yield* Client.take(channel, "dead")
    assert.deepStrictEqual(deaths(got), [
      { count: 1, reason: "expired", queue: "q", exchange: "", "routing-keys": ["q"] }
    ])
  }),
  "a message that expires by itself is dead-lettered without its expiration": Effect.gen(function*() {
    const channel = yield* withDeadLetters()
    yield* Client.publish(channel, { routingKey: "q", body: "1", properties: { expiration: "100" } })
    yield* Client.elapse("400 millis")
    const got = yield* Client.take(channel, "dead")
    assert.isUndefined(got.properties.expiration)
    assert.deepStrictEqual(deaths(got), [
      {
        count: 1,
        reason: "expired",
        queue: "q",
        exchange: "",
        "routing-keys": ["q"],
        "original-expiration": "100"
      }
    ])
  }),
  "what a full queue drops is dead-lettered": Effect.gen(function*() {
    const channel = yield* withDeadLetters({ "x-max-length": 1 })
    yield* Client.fill(channel, "q", "1", "2")
    yield* Client.settle
    const got = yield* Client.take(channel, "dead")
    assert.strictEqual(Client.text(got), "1")
    assert.deepStrictEqual(deaths(got), [
      { count: 1, reason: "maxlen", queue: "q", exchange: "", "routing-keys": ["q"] }
    ])
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["2"])
  }),
  "a full queue may reject what is published and dead-letter it as well": Effect.gen(function*() {
    const channel = yield* withDeadLetters({ "x-max-length": 1, "x-overflow": "reject-publish-dlx" })
    assert.isTrue(yield* Client.publish(channel, { routingKey: "q", body: "1" }))
    assert.isFalse(yield* Client.publish(channel, { routingKey: "q", body: "2" }))
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "dead"), ["2"])
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "a full queue that only rejects does not dead-letter": Effect.gen(function*() {
    const channel = yield* withDeadLetters({ "x-max-length": 1, "x-overflow": "reject-publish" })
    yield* Client.fill(channel, "q", "1", "2")
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "dead"), [])
  }),
  "dying again in the same queue for the same reason counts up": Effect.gen(function*() {
    const channel = yield* withDeadLetters()
    yield* Client.queue(channel, "again", { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q" })
    yield* Client.bind(channel, "again", "dlx")
    yield* Client.fill(channel, "q", "1")
    yield* reject(channel, "q")
    yield* reject(channel, "again")
    yield* reject(channel, "q")
    const [, second] = yield* Client.drain(channel, "dead")
    assert.isDefined(second)
    assert.deepStrictEqual(deaths(second), [
      { count: 2, reason: "rejected", queue: "q", exchange: "", "routing-keys": ["q"] },
      { count: 1, reason: "rejected", queue: "again", exchange: "dlx", "routing-keys": ["q"] }
    ])
    assert.deepStrictEqual(firstDeath(second), ["rejected", "q", ""])
  }),
  "dying for another reason is another entry, the latest first": Effect.gen(function*() {
    const channel = yield* withDeadLetters({ "x-message-ttl": 100 })
    yield* Client.queue(channel, "again", { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q" })
    yield* Client.bind(channel, "again", "dlx")
    yield* Client.fill(channel, "q", "1")
    yield* reject(channel, "q")
    yield* reject(channel, "again")
    yield* Client.elapse("400 millis")
    const [, second] = yield* Client.drain(channel, "dead")
    assert.isDefined(second)
    const { version } = yield* Broker
    const before = [["again", "rejected", 1], ["q", "rejected", 1]]
    assert.deepStrictEqual(deaths(second).map((death) => [death["queue"], death["reason"], death["count"]]), [
      ["q", "expired", 1],
      // Before 4.0 each death turns the order of the earlier ones round.
      ...(version < 4 ? before.toReversed() : before)
    ])
  }),
  "a dead-letter routing key replaces the message's own": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "dead")
    yield* Client.queue(channel, "q", { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead" })
    yield* Client.publish(channel, { routingKey: "q", body: "1", properties: { headers: { CC: ["elsewhere"] } } })
    yield* reject(channel, "q")
    const got = yield* Client.take(channel, "dead")
    assert.deepStrictEqual([got.exchange, got.routingKey], ["", "dead"])
    assert.deepStrictEqual(deaths(got)[0]?.["routing-keys"], ["q", "elsewhere"])
    const { version } = yield* Broker
    assert.deepStrictEqual(got.properties.headers?.["CC"], version < 4 ? undefined : ["elsewhere"])
  }),
  "a dead-letter exchange that is missing loses the message quietly": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q", { "x-dead-letter-exchange": "missing" })
    yield* Client.fill(channel, "q", "1")
    yield* reject(channel, "q")
    assert.isTrue(channel.isOpen())
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "a message that would expire in a circle for ever is dropped": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "a", {
      "x-message-ttl": 50,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "b"
    })
    yield* Client.queue(channel, "b", {
      "x-message-ttl": 50,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "a"
    })
    yield* Client.fill(channel, "a", "1")
    yield* Client.elapse("600 millis")
    assert.strictEqual((yield* channel.checkQueue("a")).messageCount, 0)
    assert.strictEqual((yield* channel.checkQueue("b")).messageCount, 0)
  }),
  "a message that is rejected in between may go round": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "wait", {
      "x-message-ttl": 50,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "work"
    })
    yield* Client.queue(channel, "work", { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "wait" })
    yield* Client.fill(channel, "work", "1")
    for (const attempt of [1, 2, 3]) {
      yield* reject(channel, "work")
      yield* Client.elapse("300 millis")
      assert.strictEqual((yield* channel.checkQueue("work")).messageCount, 1, `attempt ${attempt}`)
    }
    const got = yield* Client.take(channel, "work")
    assert.deepStrictEqual(deaths(got).map((death) => [death["queue"], death["reason"], death["count"]]), [
      ["wait", "expired", 3],
      ["work", "rejected", 3]
    ])
  }),
  "deleting or purging a queue does not dead-letter": Effect.gen(function*() {
    const channel = yield* withDeadLetters()
    yield* Client.fill(channel, "q", "1")
    yield* channel.purgeQueue("q")
    yield* Client.fill(channel, "q", "2")
    yield* channel.deleteQueue("q", { ifUnused: false, ifEmpty: false })
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(channel, "dead"), [])
  }),
  "a dead letter that finds no queue is gone": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.exchange(channel, "dlx", "direct")
    yield* Client.queue(channel, "q", { "x-dead-letter-exchange": "dlx" })
    yield* Client.fill(channel, "q", "1")
    yield* reject(channel, "q")
    assert.deepStrictEqual(channel.returns, [])
  }),
  "a dead letter that was requeued before is not marked as redelivered": Effect.gen(function*() {
    const channel = yield* withDeadLetters()
    yield* Client.fill(channel, "q", "1")
    channel.nackUnsafe((yield* Client.take(channel, "q")).deliveryTag, false, true)
    yield* Client.settle
    yield* reject(channel, "q")
    assert.isFalse((yield* Client.take(channel, "dead")).redelivered)
  }),
  "a dead letter that a closed channel had before is marked as redelivered since 4.3": Effect.gen(function*() {
    const { version } = yield* Broker
    const channel = yield* withDeadLetters()
    yield* Client.fill(channel, "q", "1")
    const other = yield* Client.session
    yield* Client.take(other, "q")
    yield* other.close
    yield* Client.settle
    yield* reject(channel, "q")
    assert.strictEqual((yield* Client.take(channel, "dead")).redelivered, version >= 4.03)
  }),
  "a dead letter's exchange and key tell of the queue before the last": Effect.gen(function*() {
    const channel = yield* withDeadLetters()
    yield* Client.exchange(channel, "x", "topic")
    yield* Client.bind(channel, "q", "x", "a.*")
    yield* Client.publish(channel, { exchange: "x", routingKey: "a.b", body: "1" })
    yield* reject(channel, "q")
    const got = yield* Client.take(channel, "dead")
    assert.deepStrictEqual(deaths(got), [
      { count: 1, reason: "rejected", queue: "q", exchange: "x", "routing-keys": ["a.b"] }
    ])
    assert.deepStrictEqual(firstDeath(got), ["rejected", "q", "x"])
    assert.strictEqual(got.routingKey, "a.b")
  })
})
