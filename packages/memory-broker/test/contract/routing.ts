import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Arguments } from "effect-amqp/AmqpDriver"
import type { Headers } from "effect-amqp/AmqpMessage"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

const topics: ReadonlyArray<readonly [pattern: string, key: string, matches: boolean]> = [
  ["a.b", "a.b", true],
  ["a.b", "a.b.c", false],
  ["a.*", "a.b", true],
  ["a.*", "a", false],
  ["a.*", "a.b.c", false],
  ["*.b", "a.b", true],
  ["*", "a", true],
  ["*", "", false],
  ["#", "", true],
  ["#", "a.b.c", true],
  ["a.#", "a", true],
  ["a.#", "a.b.c", true],
  ["a.#", "b.a", false],
  ["#.c", "a.b.c", true],
  ["#.c", "c", true],
  ["#.c", "c.d", false],
  ["a.#.c", "a.c", true],
  ["a.#.c", "a.b.b.c", true],
  ["a.*.#", "a", false],
  ["a.*.#", "a.b", true],
  ["#.b.#", "a.b.c", true],
  ["#.b.#", "a.c", false],
  ["a..b", "a..b", true],
  ["a.*.b", "a..b", true],
  ["a.", "a", false],
  ["", "", true],
  ["", "a", false],
  ["a.*", "a.*", true],
  ["#.#", "a", true]
]

const headerCases: ReadonlyArray<readonly [statement: string, binding: Arguments, headers: Headers, matches: boolean]> =
  [
    ["all of the headers, when all are there", { "x-match": "all", a: "1", b: 2 }, { a: "1", b: 2, c: 3 }, true],
    ["all of the headers, when one is missing", { "x-match": "all", a: "1", b: 2 }, { a: "1" }, false],
    ["all of the headers, when one differs", { "x-match": "all", a: "1", b: 2 }, { a: "1", b: 3 }, false],
    ["all of the headers by default", { a: "1", b: 2 }, { a: "1" }, false],
    ["any of the headers, when one is there", { "x-match": "any", a: "1", b: 2 }, { b: 2 }, true],
    ["any of the headers, when none is there", { "x-match": "any", a: "1", b: 2 }, { b: 3, c: "1" }, false],
    ["no header at all with all", { "x-match": "all" }, {}, true],
    ["no header at all with any", { "x-match": "any" }, { a: 1 }, false],
    ["headers with x- ignored by all", { "x-match": "all", a: 1, "x-b": 2 }, { a: 1 }, true],
    ["headers with x- ignored by any", { "x-match": "any", a: 1, "x-b": 2 }, { "x-b": 2 }, false],
    ["headers with x- counted by all-with-x", { "x-match": "all-with-x", a: 1, "x-b": 2 }, { a: 1 }, false],
    ["headers with x- counted by any-with-x", { "x-match": "any-with-x", a: 1, "x-b": 2 }, { "x-b": 2 }, true],
    ["text and a number that looks the same", { a: "1" }, { a: 1 }, false],
    ["true and text", { a: true }, { a: "true" }, false],
    ["true and true", { a: true }, { a: true }, true],
    ["numbers of different widths", { a: 1000 }, { a: 1000 }, true],
    ["a header that only has to be there", { a: null }, { a: "anything" }, true],
    ["a header that only has to be there and is not", { a: null }, { b: "anything" }, false]
  ]

const bound = Effect.fnUntraced(function*(type: string) {
  const channel = yield* Client.session
  yield* Client.exchange(channel, "x", type)
  yield* Client.queue(channel, "q")
  return channel
})

export const routing = suite("where messages go", {
  "the default exchange routes to the queue that the key names": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "a")
    yield* Client.queue(channel, "b")
    yield* Client.fill(channel, "a", "1")
    assert.deepStrictEqual(yield* Client.bodies(channel, "a"), ["1"])
    assert.deepStrictEqual(yield* Client.bodies(channel, "b"), [])
  }),
  "a direct exchange routes by the exact key": Effect.gen(function*() {
    const channel = yield* bound("direct")
    yield* Client.bind(channel, "q", "x", "k")
    yield* Client.publish(channel, { exchange: "x", routingKey: "k", body: "yes" })
    yield* Client.publish(channel, { exchange: "x", routingKey: "k.k", body: "no" })
    yield* Client.publish(channel, { exchange: "x", routingKey: "", body: "no" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["yes"])
  }),
  "a direct exchange routes one key to several queues": Effect.gen(function*() {
    const channel = yield* bound("direct")
    yield* Client.queue(channel, "r")
    yield* Client.bind(channel, "q", "x", "k")
    yield* Client.bind(channel, "r", "x", "k")
    yield* Client.publish(channel, { exchange: "x", routingKey: "k", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
    assert.deepStrictEqual(yield* Client.bodies(channel, "r"), ["1"])
  }),
  "a fanout exchange routes whatever the key": Effect.gen(function*() {
    const channel = yield* bound("fanout")
    yield* Client.bind(channel, "q", "x", "ignored")
    yield* Client.publish(channel, { exchange: "x", routingKey: "other", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "a predeclared exchange routes as its name says": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.queue(channel, "q")
    yield* Client.bind(channel, "q", "amq.topic", "a.*")
    yield* Client.publish(channel, { exchange: "amq.topic", routingKey: "a.b", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  ...rows(topics, ([pattern, key, matches]) => [
    `the topic pattern "${pattern}" ${matches ? "takes" : "leaves"} the key "${key}"`,
    Effect.gen(function*() {
      const channel = yield* bound("topic")
      yield* Client.bind(channel, "q", "x", pattern)
      yield* Client.publish(channel, { exchange: "x", routingKey: key, body: "1" })
      assert.deepStrictEqual(yield* Client.bodies(channel, "q"), matches ? ["1"] : [])
    })
  ]),
  ...rows(headerCases, ([statement, binding, headers, matches]) => [
    `a headers exchange ${matches ? "matches" : "does not match"} ${statement}`,
    Effect.gen(function*() {
      const channel = yield* bound("headers")
      yield* Client.bind(channel, "q", "x", "", binding)
      yield* Client.publish(channel, { exchange: "x", body: "1", properties: { headers } })
      assert.deepStrictEqual(yield* Client.bodies(channel, "q"), matches ? ["1"] : [])
    })
  ]),
  ...rows([["a routing key", "k", {}], ["arguments", "k", { a: 1 }]] as const, ([what, key, args]) => [
    `an unbind by ${what} ends that binding and no other`,
    Effect.gen(function*() {
      const channel = yield* Client.session
      yield* Client.exchange(channel, "x", "direct")
      yield* Client.queue(channel, "q")
      yield* Client.bind(channel, "q", "x", key, args)
      yield* Client.bind(channel, "q", "x", "other")
      yield* channel.unbindQueue({ queue: "q", exchange: "x", routingKey: key, arguments: args })
      yield* Client.publish(channel, { exchange: "x", routingKey: key, body: "1", mandatory: true })
      yield* Client.publish(channel, { exchange: "x", routingKey: "other", body: "2" })
      assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["2"])
    })
  ]),
  "an unbind with other arguments, and one of what is not bound, changes nothing": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.exchange(channel, "x", "direct")
    yield* Client.queue(channel, "q")
    yield* Client.bind(channel, "q", "x", "k")
    for (const [routingKey, args] of [["k", { a: 1 }], ["other", {}]] as const) {
      yield* channel.unbindQueue({ queue: "q", exchange: "x", routingKey, arguments: args })
    }
    yield* Client.publish(channel, { exchange: "x", routingKey: "k", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "an unbind from an exchange or of a queue that is missing succeeds": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.exchange(channel, "x", "direct")
    yield* Client.queue(channel, "q")
    yield* channel.unbindQueue({ queue: "q", exchange: "missing", routingKey: "k", arguments: {} })
    yield* channel.unbindQueue({ queue: "missing", exchange: "x", routingKey: "k", arguments: {} })
    assert.isTrue(channel.isOpen())
  }),
  "two bindings that differ only in arguments are two bindings": Effect.gen(function*() {
    const channel = yield* bound("headers")
    yield* Client.bind(channel, "q", "x", "", { a: 1 })
    yield* Client.bind(channel, "q", "x", "", { a: 2 })
    yield* channel.unbindQueue({ queue: "q", exchange: "x", routingKey: "", arguments: { a: 1 } })
    yield* Client.publish(channel, { exchange: "x", body: "1", properties: { headers: { a: 1 } } })
    yield* Client.publish(channel, { exchange: "x", body: "2", properties: { headers: { a: 2 } } })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["2"])
  }),
  "a queue that several bindings match gets the message once": Effect.gen(function*() {
    const channel = yield* bound("topic")
    yield* Client.bind(channel, "q", "x", "#")
    yield* Client.bind(channel, "q", "x", "a.*")
    yield* Client.publish(channel, { exchange: "x", routingKey: "a.b", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "binding twice is binding once": Effect.gen(function*() {
    const channel = yield* bound("direct")
    yield* Client.bind(channel, "q", "x", "k")
    yield* Client.bind(channel, "q", "x", "k")
    yield* channel.unbindQueue({ queue: "q", exchange: "x", routingKey: "k", arguments: {} })
    yield* Client.publish(channel, { exchange: "x", routingKey: "k", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "unbinding one topic pattern leaves the others": Effect.gen(function*() {
    const channel = yield* bound("topic")
    yield* Client.bind(channel, "q", "x", "a.*")
    yield* Client.bind(channel, "q", "x", "*.b")
    yield* channel.unbindQueue({ queue: "q", exchange: "x", routingKey: "a.*", arguments: {} })
    yield* Client.publish(channel, { exchange: "x", routingKey: "a.c", body: "no" })
    yield* Client.publish(channel, { exchange: "x", routingKey: "a.b", body: "yes" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["yes"])
  }),
  "unbinding what is not bound, or not there, is no error": Effect.gen(function*() {
    const channel = yield* bound("direct")
    yield* channel.unbindQueue({ queue: "q", exchange: "x", routingKey: "nope", arguments: {} })
    yield* channel.unbindQueue({ queue: "missing", exchange: "x", routingKey: "", arguments: {} })
    yield* channel.unbindQueue({ queue: "q", exchange: "missing", routingKey: "", arguments: {} })
    yield* channel.unbindExchange({ destination: "missing", source: "x", routingKey: "", arguments: {} })
  }),
  "an exchange that is bound to another passes messages on": Effect.gen(function*() {
    const channel = yield* bound("topic")
    yield* Client.exchange(channel, "y", "fanout")
    yield* Client.bind(channel, "q", "y")
    yield* channel.bindExchange({ destination: "y", source: "x", routingKey: "a.#", arguments: {} })
    yield* Client.publish(channel, { exchange: "x", routingKey: "a.b", body: "1" })
    yield* Client.publish(channel, { exchange: "x", routingKey: "b", body: "2" })
    yield* channel.unbindExchange({ destination: "y", source: "x", routingKey: "a.#", arguments: {} })
    yield* Client.publish(channel, { exchange: "x", routingKey: "a.b", body: "3" })
    const got = yield* Client.drain(channel, "q")
    assert.deepStrictEqual(got.map(Client.text), ["1"])
    assert.deepStrictEqual(got.map((delivery) => [delivery.exchange, delivery.routingKey]), [["x", "a.b"]])
  }),
  "exchanges that are bound in a circle pass a message round once": Effect.gen(function*() {
    const channel = yield* bound("fanout")
    yield* Client.exchange(channel, "y", "fanout")
    yield* channel.bindExchange({ destination: "y", source: "x", routingKey: "", arguments: {} })
    yield* channel.bindExchange({ destination: "x", source: "y", routingKey: "", arguments: {} })
    yield* Client.bind(channel, "q", "x")
    yield* Client.publish(channel, { exchange: "y", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "an internal exchange takes messages from other exchanges": Effect.gen(function*() {
    const channel = yield* bound("fanout")
    yield* Client.exchange(channel, "inner", "fanout", { internal: true })
    yield* channel.bindExchange({ destination: "inner", source: "x", routingKey: "", arguments: {} })
    yield* Client.bind(channel, "q", "inner")
    yield* Client.publish(channel, { exchange: "x", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "an alternate exchange takes what its exchange cannot route": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.exchange(channel, "lost", "fanout")
    yield* Client.exchange(channel, "x", "direct", { arguments: { "alternate-exchange": "lost" } })
    yield* Client.queue(channel, "q")
    yield* Client.queue(channel, "rest")
    yield* Client.bind(channel, "q", "x", "k")
    yield* Client.bind(channel, "rest", "lost")
    yield* Client.publish(channel, { exchange: "x", routingKey: "k", body: "1", mandatory: true })
    yield* Client.publish(channel, { exchange: "x", routingKey: "other", body: "2", mandatory: true })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
    assert.deepStrictEqual(yield* Client.bodies(channel, "rest"), ["2"])
    assert.deepStrictEqual(channel.returns, [])
  }),
  "an alternate exchange may have an alternate itself, or be missing": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.exchange(channel, "last", "fanout")
    yield* Client.exchange(channel, "middle", "direct", { arguments: { "alternate-exchange": "last" } })
    yield* Client.exchange(channel, "x", "direct", { arguments: { "alternate-exchange": "middle" } })
    yield* Client.exchange(channel, "alone", "direct", { arguments: { "alternate-exchange": "missing" } })
    yield* Client.queue(channel, "q")
    yield* Client.bind(channel, "q", "last")
    yield* Client.publish(channel, { exchange: "x", routingKey: "k", body: "1" })
    assert.isTrue(yield* Client.publish(channel, { exchange: "alone", routingKey: "k", body: "2" }))
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), ["1"])
  }),
  "the CC and BCC headers route too, and BCC is not seen": Effect.gen(function*() {
    const channel = yield* Client.session
    for (const name of ["a", "b", "c"]) yield* Client.queue(channel, name)
    yield* Client.publish(channel, {
      routingKey: "a",
      body: "1",
      properties: { headers: { CC: ["b"], BCC: ["c"], other: 1 } }
    })
    for (const name of ["a", "b", "c"]) {
      const delivery = yield* Client.take(channel, name)
      assert.deepStrictEqual({ ...delivery.properties.headers }, { CC: ["b"], other: 1 })
      assert.strictEqual(delivery.routingKey, "a")
    }
  }),
  "a deleted exchange takes its bindings with it": Effect.gen(function*() {
    const channel = yield* bound("fanout")
    yield* Client.bind(channel, "q", "x")
    yield* channel.deleteExchange("x", { ifUnused: false })
    yield* Client.exchange(channel, "x", "fanout")
    yield* Client.publish(channel, { exchange: "x", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "a deleted queue takes its bindings with it": Effect.gen(function*() {
    const channel = yield* bound("fanout")
    yield* Client.bind(channel, "q", "x")
    yield* channel.deleteQueue("q", { ifUnused: false, ifEmpty: false })
    yield* Client.queue(channel, "q")
    yield* Client.publish(channel, { exchange: "x", body: "1" })
    assert.deepStrictEqual(yield* Client.bodies(channel, "q"), [])
  }),
  "an auto-delete exchange goes with its last binding": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.exchange(channel, "x", "fanout", { autoDelete: true })
    yield* Client.queue(channel, "q")
    yield* Client.queue(channel, "r")
    yield* channel.checkExchange("x")
    yield* Client.bind(channel, "q", "x")
    yield* Client.bind(channel, "r", "x")
    yield* channel.unbindQueue({ queue: "q", exchange: "x", routingKey: "", arguments: {} })
    yield* channel.checkExchange("x")
    yield* channel.deleteQueue("r", { ifUnused: false, ifEmpty: false })
    assert.strictEqual((yield* Client.failure(channel.checkExchange("x"))).reason, "NotFound")
  }),
  "an auto-delete exchange that is only a destination stays": Effect.gen(function*() {
    const channel = yield* bound("fanout")
    yield* Client.exchange(channel, "y", "fanout", { autoDelete: true })
    yield* channel.bindExchange({ destination: "y", source: "x", routingKey: "", arguments: {} })
    yield* channel.unbindExchange({ destination: "y", source: "x", routingKey: "", arguments: {} })
    yield* channel.checkExchange("y")
  }),
  "deleting what is not there is no error": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* channel.deleteExchange("missing", { ifUnused: false })
    assert.strictEqual(yield* channel.deleteQueue("missing", { ifUnused: false, ifEmpty: false }), 0)
  }),
  "declaring the same again is no error": Effect.gen(function*() {
    const channel = yield* Client.session
    yield* Client.exchange(channel, "x", "topic", { arguments: { "alternate-exchange": "y" } })
    yield* Client.exchange(channel, "x", "topic", { arguments: { "alternate-exchange": "y" } })
    yield* Client.exchange(channel, "amq.fanout", "fanout")
    yield* Client.queue(channel, "q", { "x-message-ttl": 60_000, "x-queue-type": "classic" })
    yield* Client.queue(channel, "q", { "x-message-ttl": 60_000 })
  })
})
