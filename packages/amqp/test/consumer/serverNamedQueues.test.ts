import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { AmqpConsumer, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, sendWith } from "../support/Consuming.ts"

describe("AmqpConsumer and server-named queues", () => {
  const events = AmqpTopology.exchange("events", { type: "fanout" })
  const news = AmqpTopology.serverNamedQueue("news")
  const newsTopology = AmqpTopology.make(events, news, AmqpTopology.bind(news, events))

  it.effect("bindings and consumers follow the new name that each session brings", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpTopology.declare(newsTopology)
      const seen: Array<string> = []
      yield* AmqpConsumer.make(
        news,
        (delivery) => Effect.map(delivery.text, (text) => seen.push(`${delivery.queue} ${text}`))
      )
      const before = yield* AmqpTopology.currentName(news)
      yield* sendWith({ exchange: events, routingKey: "" }, "one")
      yield* broker.cutConnections
      yield* pass(2000)
      const after = yield* AmqpTopology.currentName(news)
      yield* sendWith({ exchange: events, routingKey: "" }, "two")
      assert.deepStrictEqual(seen, ["news one", "news two"])
      assert.notStrictEqual(after, before)
    })))

  it.effect("an attempt is counted by the name that the broker has chosen", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpTopology.declare(newsTopology)
      const seen: Array<number> = []
      yield* AmqpConsumer.make(news, (delivery) => Effect.sync(() => seen.push(delivery.attempts)))
      const queue = yield* AmqpTopology.currentName(news)
      const headers = { "x-death": [{ queue, reason: "rejected", count: 2 }] }
      yield* sendWith({ exchange: events, routingKey: "", headers }, "one")
      assert.deepStrictEqual(seen, [3])
    })))

  it.effect("a consumer of one that no topology declares fails with NotFound", () =>
    onMemory(Effect.gen(function*() {
      const error = yield* Effect.flip(AmqpConsumer.make(news, () => Effect.void))
      assert.strictEqual(error.reason._tag, "NotFound")
    })))

  it.effect("cannot be retried with a delay", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpTopology.declare(newsTopology)
      const error = yield* Effect.flip(
        AmqpConsumer.make(news, () => Effect.void, { onFailure: AmqpConsumer.retry(Schedule.recurs(1)) })
      )
      assert.strictEqual(error.reason._tag, "InvalidConfiguration")
    })))
})
