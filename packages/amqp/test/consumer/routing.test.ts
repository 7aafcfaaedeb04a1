import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Schedule, type Scope } from "effect"
import { AmqpConsumer } from "effect-amqp"
import type { AmqpConnection, AmqpDelivery } from "effect-amqp"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { logging, onMemory, ready, sendWith, work } from "../support/Consuming.ts"

class Stock extends Context.Service<Stock, { readonly take: Effect.Effect<void> }>()("test/Stock") {}

const noted = (seen: Array<string>, name: string) => (delivery: AmqpDelivery.Delivery) =>
  Effect.map(delivery.text, (text) => seen.push(`${name} ${text}`))

describe("AmqpConsumer.byType", () => {
  it.effect("hands each message to the handler of its type", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<string> = []
      yield* AmqpConsumer.make(
        work,
        AmqpConsumer.byType({ paid: noted(seen, "paid"), cancelled: noted(seen, "cancelled") })
      )
      yield* sendWith({ type: "paid" }, "1")
      yield* sendWith({ type: "cancelled" }, "2")
      assert.deepStrictEqual(seen, ["paid 1", "cancelled 2"])
    })))

  for (const type of ["refunded", undefined, "toString", "__proto__"]) {
    it.effect(`dead-letters what has the type ${type}, and does not try it again`, () => {
      const lines: Parameters<typeof logging>[0] = []
      return onMemory(Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make(work, AmqpConsumer.byType({ paid: () => Effect.void }), {
          onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("1 second"), { times: 2 }))
        })
        yield* sendWith(type === undefined ? {} : { type }, "1")
        yield* pass(5000)
        assert.deepInclude(yield* consumer.counts, { deadLettered: 1, retried: 0 })
        assert.strictEqual(yield* ready("dead"), 1)
        const said = lines.find(({ message }) => message.includes("for which there is no handler"))
        assert.include(said?.message, type ?? "no type")
        assert.include(said?.message, "\"paid\"")
      })).pipe(Effect.provide(logging(lines)))
    })
  }

  it.effect("asks a policy that is a function", () =>
    onMemory(Effect.gen(function*() {
      const asked: Array<string> = []
      yield* AmqpConsumer.make(work, AmqpConsumer.byType({ paid: () => Effect.fail("no stock" as const) }), {
        onFailure: (error) => {
          // The type of the error has what the handlers fail with, and what none of them is for.
          asked.push(typeof error === "string" ? error : error._tag)
          return "deadLetter"
        }
      })
      yield* sendWith({ type: "paid" }, "1")
      yield* sendWith({ type: "refunded" }, "2")
      assert.deepStrictEqual(asked, ["no stock", "UnroutedDelivery"])
    })).pipe(Effect.provide(logging([]))))

  it.effect("needs what its handlers need", () =>
    onMemory(Effect.gen(function*() {
      let taken = 0
      const consuming: Effect.Effect<unknown, unknown, Stock | AmqpConnection.AmqpConnection | Scope.Scope> =
        AmqpConsumer.make(
          work,
          AmqpConsumer.byType({ paid: () => Effect.flatMap(Stock, (stock) => stock.take), other: () => Effect.void })
        )
      yield* Effect.provideService(consuming, Stock, { take: Effect.sync(() => void taken++) })
      yield* sendWith({ type: "paid" }, "1")
      assert.strictEqual(taken, 1)
    })))
})

describe("AmqpConsumer.byRoutingKey", () => {
  const patterns = {
    "order.*.paid": "one word",
    "order.#.paid": "any words",
    "order": "exact",
    "#.audit": "ends",
    "*": "single",
    "a.#.b.#.c": "twice"
  }
  it.effect.each([
    ["order.1.paid", "one word"],
    ["order.paid", "any words"],
    ["order.1.2.paid", "any words"],
    ["order", "exact"],
    ["audit", "ends"],
    ["x.y.audit", "ends"],
    ["", "single"],
    ["a.b.c", "twice"],
    ["a.x.b.y.z.c", "twice"],
    ["a.b.x", undefined],
    ["order.1", undefined]
  ])("gives %s to the first pattern that matches, %s", ([routingKey, expected]) => {
    let seen: string | undefined
    const handler = AmqpConsumer.byRoutingKey(
      Object.fromEntries(
        Object.entries(patterns).map(([pattern, name]) => [pattern, () => Effect.sync(() => seen = name)])
      )
    )
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(handler({ routingKey, queue: "work" } as AmqpDelivery.Delivery))
      assert.strictEqual(seen, expected)
      assert.strictEqual(exit._tag, expected === undefined ? "Failure" : "Success")
    })
  })

  it.effect("goes by the routing key that a message was first published with, also when it was tried before", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<number> = []
      yield* AmqpConsumer.make(
        work,
        AmqpConsumer.byRoutingKey({
          work: (delivery) => Effect.andThen(Effect.sync(() => seen.push(delivery.attempts)), Effect.fail("no"))
        }),
        { onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("1 second"), { times: 2 })) }
      )
      yield* sendWith({}, "1")
      yield* pass(5000)
      assert.deepStrictEqual(seen, [1, 2, 3])
    })).pipe(Effect.provide(logging([]))))
})
