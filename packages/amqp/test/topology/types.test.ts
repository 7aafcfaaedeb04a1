/** What must not compile, and what is refused where nothing was compiled. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { AmqpConnection, AmqpTopology } from "effect-amqp"
import type { AmqpMessage } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"

const invoices = AmqpTopology.queue("invoices")
const orders = AmqpTopology.exchange("orders", { type: "topic" })

describe("the types of AmqpTopology", () => {
  it("know the types of exchanges, and leave those of plugins possible", () => {
    assert.strictEqual(AmqpTopology.exchange("delayed", { type: "x-delayed-message" }).type, "x-delayed-message")
    // @ts-expect-error it is misspelt
    assert.strictEqual(AmqpTopology.exchange("orders", { type: "topci" }).type, "topci")
  })

  it("know what a quorum queue does not have", () => {
    const wrong = [
      // @ts-expect-error it is never exclusive
      () => AmqpTopology.queue("q", { type: "quorum", exclusive: true }),
      // @ts-expect-error it is always durable
      () => AmqpTopology.queue("q", { type: "quorum", durable: false }),
      // @ts-expect-error its priorities need no maximum
      () => AmqpTopology.queue("q", { type: "quorum", maxPriority: 5 })
    ]
    assert.isTrue(wrong.every((make) => make()._tag === "Queue"))
    assert.strictEqual(AmqpTopology.queue("q", { type: "quorum", deliveryLimit: 5 }).arguments["x-delivery-limit"], 5)
  })

  it("know what a stream does not have", () => {
    const wrong = [
      // @ts-expect-error it is never exclusive
      () => AmqpTopology.queue("s", { type: "stream", exclusive: true }),
      // @ts-expect-error it is always durable
      () => AmqpTopology.queue("s", { type: "stream", durable: false }),
      // @ts-expect-error it is not deleted with its last consumer
      () => AmqpTopology.queue("s", { type: "stream", autoDelete: true }),
      // @ts-expect-error its messages are kept by age and size
      () => AmqpTopology.queue("s", { type: "stream", messageTtl: "1 second" }),
      // @ts-expect-error it dead-letters nothing
      () => AmqpTopology.queue("s", { type: "stream", deadLetterExchange: orders }),
      // @ts-expect-error it counts no deliveries
      () => AmqpTopology.queue("s", { type: "stream", deliveryLimit: 5 }),
      // @ts-expect-error it has no priorities
      () => AmqpTopology.queue("s", { type: "stream", maxPriority: 5 }),
      // @ts-expect-error it has many readers at a time
      () => AmqpTopology.queue("s", { type: "stream", singleActiveConsumer: true })
    ]
    assert.isTrue(wrong.every((make) => make()._tag === "Queue"))
    assert.deepStrictEqual(
      AmqpTopology.queue("s", { type: "stream", maxAge: "7 days", maxLengthBytes: 10, maxSegmentBytes: 5 }).arguments,
      {
        "x-queue-type": "stream",
        "x-max-age": "604800s",
        "x-max-length-bytes": 10,
        "x-stream-max-segment-size-bytes": 5
      }
    )
  })

  it("know a classic queue from a quorum queue", () => {
    // @ts-expect-error a classic queue has no delivery limit
    assert.strictEqual(AmqpTopology.queue("q", { type: "classic", deliveryLimit: 5 })._tag, "Queue")
  })

  it("know a queue from an exchange", () => {
    const wrong = [
      // @ts-expect-error a message is published to an exchange
      (): AmqpMessage.Message => ({ exchange: invoices, routingKey: "a", body: "" }),
      // @ts-expect-error messages come from an exchange
      () => AmqpTopology.bind(invoices, invoices),
      // @ts-expect-error dead letters go to an exchange
      () => AmqpTopology.queue("q", { deadLetterExchange: invoices }),
      // @ts-expect-error what cannot be routed goes to an exchange
      () => AmqpTopology.exchange("e", { alternateExchange: invoices })
    ]
    assert.isTrue(wrong.every((make) => typeof make === "function"))
  })

  it.effect("are told in a sentence to those who have none", () =>
    Effect.gen(function*() {
      const cases = [
        [
          AmqpTopology.exchange("orders", { type: "topci" as "topic" }),
          /"orders" has the type "topci".*begins with x-/
        ],
        [
          AmqpTopology.queue("q", { type: "quorum", exclusive: true as false }),
          /"q" is a quorum queue, which cannot be exclusive/
        ],
        [AmqpTopology.queue("q", { type: "quorum", durable: false as true }), /"q".*always durable/],
        [
          AmqpTopology.queue("q", { type: "quorum", arguments: { "x-max-priority": 5 } }),
          /"q" is a quorum queue, which has no x-max-priority/
        ],
        [AmqpTopology.queue("s", { type: "stream", autoDelete: true as false }), /"s" is a stream.*autoDelete/],
        [
          AmqpTopology.queue("s", { type: "stream", arguments: { "x-message-ttl": 5 } }),
          /"s" is a stream, which has no x-message-ttl/
        ]
      ] as const
      for (const [entity, text] of cases) {
        const error = yield* Effect.flip(AmqpTopology.declare(AmqpTopology.make(entity)))
        assert.strictEqual(error.reason._tag, "InvalidConfiguration")
        assert.match(error.message, text)
      }
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))
})
