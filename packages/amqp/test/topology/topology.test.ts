import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Virtual from "../support/Virtual.ts"

const connected = AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer))
const withChannel = AmqpChannel.layer().pipe(Layer.provideMerge(connected))

const refusal = (topology: AmqpTopology.Topology) =>
  Effect.map(Effect.flip(AmqpTopology.declare(topology)), (error) => error.reason)

describe("AmqpTopology", () => {
  it("makes durable things that are kept, unless told otherwise", () => {
    assert.deepInclude(AmqpTopology.exchange("e"), {
      type: "direct",
      durable: true,
      autoDelete: false,
      internal: false
    })
    assert.deepInclude(AmqpTopology.queue("q"), { durable: true, exclusive: false, autoDelete: false, arguments: {} })
  })

  it("writes options as the arguments that RabbitMQ knows", () => {
    assert.deepStrictEqual(
      AmqpTopology.queue("q", {
        type: "quorum",
        arguments: { "x-own": 1, "x-max-priority": 5 },
        messageTtl: "1 minute",
        expires: "1 hour",
        maxLength: 10,
        maxLengthBytes: 1000,
        overflow: "reject-publish",
        deadLetterExchange: AmqpTopology.exchange("dead"),
        deadLetterRoutingKey: "k",
        singleActiveConsumer: true,
        deliveryLimit: 7
      }).arguments,
      {
        "x-own": 1,
        "x-queue-type": "quorum",
        "x-message-ttl": 60_000,
        "x-expires": 3_600_000,
        "x-max-length": 10,
        "x-max-length-bytes": 1000,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "dead",
        "x-dead-letter-routing-key": "k",
        "x-max-priority": 5,
        "x-single-active-consumer": true,
        "x-delivery-limit": 7
      }
    )
    assert.deepStrictEqual(AmqpTopology.exchange("e", { alternateExchange: "other" }).arguments, {
      "alternate-exchange": "other"
    })
    assert.deepStrictEqual(
      AmqpTopology.queue("q", { arguments: { "x-dead-letter-exchange": "dead" } }).arguments,
      { "x-dead-letter-exchange": "dead" },
      "an option that is absent must not take an argument away"
    )
  })

  it.effect("declares exchanges, queues and bindings, of queues and of exchanges", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const inner = AmqpTopology.exchange("inner", { type: "fanout", internal: true })
      yield* AmqpTopology.declare(AmqpTopology.make(
        Virtual.topology,
        inner,
        AmqpTopology.queue("copies"),
        AmqpTopology.bind(inner, Virtual.orders, "paid"),
        AmqpTopology.bind(AmqpTopology.queue("copies"), inner)
      ))
      const publisher = yield* AmqpPublisher.make()
      yield* publisher.publish({ exchange: "orders", routingKey: "paid", body: 1 })
      assert.strictEqual(yield* broker.depth("invoices"), 1)
      assert.strictEqual(yield* broker.depth("copies"), 1)
    }).pipe(Effect.provide(connected)))

  it.effect("is declared again on every session, before a publisher writes", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      yield* AmqpTopology.declare(Virtual.topology)
      const publisher = yield* AmqpPublisher.make()
      yield* TestClock.adjust("10 seconds")
      yield* channel.deleteQueue("invoices")
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* TestClock.adjust("1 second")
      yield* publisher.publish({ exchange: "orders", routingKey: "paid", body: 1 })
      assert.strictEqual(yield* broker.depth("invoices"), 1)
    }).pipe(Effect.provide(withChannel)))

  it.effect("a queue that exists otherwise is a TopologyMismatch that says what differs", () =>
    Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue("q", { messageTtl: "1 second" })))
      const reason = yield* refusal(AmqpTopology.make(AmqpTopology.queue("q", { messageTtl: "2 seconds" })))
      assert.deepInclude(reason, {
        _tag: "TopologyMismatch",
        entity: "queue",
        entityName: "q",
        argument: "x-message-ttl"
      })
      if (reason._tag === "TopologyMismatch") {
        assert.include(reason.wanted, "2000")
        assert.include(reason.actual, "1000")
      }
    }).pipe(Effect.provide(connected)))

  it.effect("an exchange that exists otherwise is a TopologyMismatch, and nobody else is disturbed", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      yield* AmqpTopology.declare(Virtual.topology)
      const before = yield* broker.counts
      const reason = yield* refusal(AmqpTopology.make(AmqpTopology.exchange("orders", { type: "fanout" })))
      assert.deepInclude(reason, {
        _tag: "TopologyMismatch",
        entity: "exchange",
        entityName: "orders",
        argument: "type"
      })
      assert.deepStrictEqual(yield* broker.counts, before)
      yield* channel.checkExchange("orders")
    }).pipe(Effect.provide(withChannel)))

  it.effect("what was refused is not declared again on later sessions, neither as a whole nor in part", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      const own = AmqpTopology.queue("own", { exclusive: true })
      const reason = yield* refusal(AmqpTopology.make(
        AmqpTopology.queue("shared"),
        own,
        AmqpTopology.bind(own, AmqpTopology.exchange("missing"))
      ))
      assert.strictEqual(reason._tag, "NotFound")
      yield* channel.deleteQueue("shared")
      yield* broker.cutConnections
      yield* Effect.repeat(TestClock.adjust("1 second"), { times: 5 })
      assert.isUndefined(yield* broker.queue("shared"))
    }).pipe(Effect.provide(withChannel)))

  it.effect("a binding to what is not there is NotFound", () =>
    Effect.gen(function*() {
      const reason = yield* refusal(AmqpTopology.make(
        AmqpTopology.queue("q"),
        AmqpTopology.bind(AmqpTopology.queue("q"), AmqpTopology.exchange("missing"))
      ))
      assert.deepInclude(reason, { _tag: "NotFound", entity: "exchange", entityName: "missing" })
    }).pipe(Effect.provide(connected)))

  it.effect("a reserved name is AccessRefused", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* refusal(AmqpTopology.make(AmqpTopology.queue("amq.mine"))))._tag, "AccessRefused")
    }).pipe(Effect.provide(connected)))

  it.effect("what makes the broker end the whole connection fails by itself, and everybody else comes back", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpTopology.declare(Virtual.topology)
      const publisher = yield* AmqpPublisher.make()
      yield* TestClock.adjust("10 seconds")
      const refused = yield* Effect.forkChild(
        refusal(AmqpTopology.make(AmqpTopology.exchange("bad", { type: "x-nope" }))),
        { startImmediately: true }
      )
      yield* Virtual.settle
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(refused.pollUnsafe())
      const reason = yield* Fiber.join(refused)
      assert.deepInclude(reason, { _tag: "ConnectionLost", replyCode: 503 })
      yield* publisher.publish({ exchange: "orders", routingKey: "paid", body: 1 })
      assert.strictEqual(yield* broker.depth("invoices"), 1)
    }).pipe(
      Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layerWith({ version: "3.10" }))))
    ))

  const invalid: ReadonlyArray<readonly [string, AmqpTopology.Topology, RegExp]> = [
    ["a name of 256 bytes", AmqpTopology.make(AmqpTopology.queue("q".repeat(256))), /256 bytes/],
    ["an empty name of an exchange", AmqpTopology.make(AmqpTopology.exchange("")), /empty name/],
    [
      "a time to live that is no duration",
      AmqpTopology.make(AmqpTopology.queue("q", { messageTtl: "soon" as "1 second" })),
      /x-message-ttl/
    ],
    [
      "a time to live of NaN, which would be none at all",
      AmqpTopology.make(AmqpTopology.queue("q", { messageTtl: NaN })),
      /x-message-ttl/
    ],
    [
      "one queue with two meanings",
      AmqpTopology.make(AmqpTopology.queue("q"), AmqpTopology.queue("q", { durable: false })),
      /twice/
    ],
    [
      "a routing key of 300 bytes",
      AmqpTopology.make(AmqpTopology.bind(Virtual.invoices, Virtual.orders, "k".repeat(300))),
      /300 bytes/
    ]
  ]
  it.effect.each(invalid)("%s is refused before anything is sent", ([, topology, says]) =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const before = yield* broker.operations
      const reason = yield* refusal(topology)
      assert.strictEqual(reason._tag, "InvalidConfiguration")
      assert.match(reason.message, says)
      assert.strictEqual(yield* broker.operations, before)
    }).pipe(Effect.provide(connected)))
})
