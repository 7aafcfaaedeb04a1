import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Fiber, Layer } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, ready, send, unacked, work } from "../support/Consuming.ts"

describe("AmqpConsumer.layerConfig", () => {
  const worker = AmqpConsumer.layerConfig(work, () => Effect.never, {
    prefetch: Config.Int("WORKER_PREFETCH"),
    drainTimeout: Config.succeed("1 second"),
    onFailure: Config.succeed("requeue")
  })

  it.effect("consumes with options that are read from configuration", () =>
    onMemory(Effect.gen(function*() {
      const launched = yield* Effect.forkChild(Layer.launch(worker), { startImmediately: true })
      yield* settled
      yield* send("a", "b", "c")
      assert.deepStrictEqual([yield* unacked, yield* ready("work")], [2, 1])
      const stopping = yield* Effect.forkChild(Fiber.interrupt(launched))
      yield* pass(3000)
      yield* Fiber.join(stopping)
    })).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ WORKER_PREFETCH: 2 })))))

  it.effect("fails to build with a ConfigError where an option cannot be read", () =>
    onMemory(Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(worker))
      assert.strictEqual(error._tag, "ConfigError")
    })).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({})))))
})
