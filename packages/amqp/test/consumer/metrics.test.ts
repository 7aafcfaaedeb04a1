import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, send, withOwnMetrics, work } from "../support/Consuming.ts"

const conventional = {
  "messaging.system": "rabbitmq",
  "messaging.operation.name": "process",
  "messaging.destination.name": "work"
}

const stateOf = (id: string, attributes: Readonly<Record<string, string | undefined>>) =>
  Effect.map(Metric.snapshot, (metrics) =>
    metrics.find((metric) =>
      metric.id === id &&
      Object.entries(attributes).every(([key, value]) =>
        (metric.attributes as Readonly<Record<string, string>> | undefined)?.[key] === value
      )
    )?.state)

describe("the metrics of a consumer", () => {
  it.effect("count what was consumed, by OpenTelemetry's conventions", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, () => Effect.void)
      yield* send("a", "b", "c")
      // They are told with the acknowledgements.
      yield* pass(5)
      const state = yield* stateOf("messaging.client.consumed.messages", conventional)
      assert.isTrue(state !== undefined && "count" in state && state.count === 3)
    })).pipe(withOwnMetrics))

  it.effect("have the duration of a handler in seconds, apart for those that failed", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, (delivery) =>
        Effect.andThen(
          Effect.sleep("2 seconds"),
          Effect.flatMap(delivery.text, (text) => text === "bad" ? Effect.fail("no") : Effect.void)
        ), { concurrency: 2 })
      yield* send("good", "bad")
      yield* pass(3000)
      for (const type of [undefined, "_OTHER"]) {
        const state = yield* stateOf("messaging.process.duration", { ...conventional, "error.type": type })
        assert.isTrue(state !== undefined && "sum" in state, `error.type ${type}`)
        if (state === undefined || !("sum" in state)) continue
        assert.strictEqual(Number(state.count), 1)
        assert.closeTo(Number(state.sum), 2, 0.5)
      }
    })).pipe(withOwnMetrics))
})
