import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { AmqpConnection, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"

const declare = (version: "3.10" | "4.0" | "4.3", deliveryLimit: number) =>
  AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue("q", { type: "quorum", deliveryLimit }))).pipe(
    Effect.scoped,
    Effect.provide(AmqpConnection.layer().pipe(Layer.provide(AmqpMemory.layerWith({ version }))))
  )

describe("a delivery limit of -1", () => {
  it.effect("is refused before RabbitMQ 4.0, where it would drop messages", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(declare("3.10", -1))
      assert.strictEqual(error.reason._tag, "InvalidConfiguration")
      assert.match(error.message, /"q".*Leave it out/)
      yield* declare("3.10", 5)
    }))

  it.effect("is declared from RabbitMQ 4.0 on", () => Effect.andThen(declare("4.0", -1), declare("4.3", -1)))
})
