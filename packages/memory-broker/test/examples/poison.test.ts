import { assert, it } from "@effect/vitest"
import { Data, Effect, Layer, Ref, Schema } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"

const Order = Schema.Struct({ id: Schema.Number, amount: Schema.Number })

class Overdrawn extends Data.TaggedError("Overdrawn")<{ readonly id: number }> {}

const rejected = AmqpTopology.queue("rejected")
const payments = AmqpTopology.queue("payments", { deadLetterExchange: "", deadLetterRoutingKey: "rejected" })

const Publisher = AmqpPublisher.layer().pipe(
  Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(payments, rejected))),
  Layer.provideMerge(AmqpConnection.layer())
)

it.effect("a payment that cannot be made is put aside, and the ones behind it are made", () =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    const publisher = yield* AmqpPublisher.AmqpPublisher
    const paid = yield* Ref.make<ReadonlyArray<number>>([])
    yield* AmqpConsumer.make(
      payments,
      Effect.fnUntraced(function*(delivery) {
        const { amount, id } = yield* delivery.json(Order)
        if (amount > 100) return yield* new Overdrawn({ id })
        yield* Ref.update(paid, (ids) => [...ids, id])
      }),
      { onFailure: "deadLetter" }
    )

    yield* publisher.publish({ routingKey: "payments", body: { id: 1, amount: 10 } })
    yield* publisher.publish({ routingKey: "payments", body: { id: 2, amount: 1_000_000 } })
    yield* publisher.publish({ routingKey: "payments", body: "not an order at all" })
    yield* publisher.publish({ routingKey: "payments", body: { id: 3, amount: 30 } })
    yield* TestClock.adjust("1 second")

    assert.deepStrictEqual(yield* Ref.get(paid), [1, 3])
    assert.strictEqual(yield* broker.depth("rejected"), 2)
    assert.deepInclude(yield* broker.queue("payments"), { ready: 0, unacked: 0 })
  }).pipe(Effect.provide(Publisher), Effect.provide(AmqpMemory.layer)))
