import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Fiber, Layer, Option } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, connectionLayer, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("the options of an AmqpPublisher", () => {
  it.effect("one that was given up before it was made leaves nothing behind in its scope", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const before = yield* broker.counts
      yield* broker.refuseConnects(4)
      yield* broker.cutConnections
      const waiting = yield* Effect.forkChild(Effect.timeoutOption(AmqpPublisher.make(), "1 second"), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      assert.isTrue(Option.isNone(yield* Fiber.join(waiting)))
      yield* Effect.repeat(TestClock.adjust("1 second"), { times: 20 })
      assert.deepStrictEqual(yield* broker.counts, before)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("are read from configuration by layerConfig", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.withholdConfirms
      const publishing = yield* begin(reason(publish(paid("x"))))
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(yield* Fiber.join(publishing), { _tag: "ConfirmTimeout", millis: 2000 })
    }).pipe(
      Effect.provide(
        AmqpPublisher.layerConfig({ confirmTimeout: Config.Duration("CONFIRM_TIMEOUT") }).pipe(
          Layer.provide(AmqpTopology.layer(Virtual.topology)),
          Layer.provide(AmqpConnection.layer()),
          Layer.provideMerge(AmqpMemory.layer)
        )
      ),
      Effect.provideService(
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env: { CONFIRM_TIMEOUT: "2 seconds" } })
      )
    ))

  const invalid: ReadonlyArray<readonly [string, AmqpPublisher.Options]> = [
    ["a confirm deadline of 0", { confirmTimeout: 0 }],
    ["no confirm deadline", { confirmTimeout: "Infinity" }],
    ["no drain deadline", { drainTimeout: "Infinity" }],
    ["a window of 0", { maxInFlight: 0 }],
    ["a broken number of bytes", { maxInFlightBytes: 1.5 }],
    ["nobody may wait", { maxWaiting: 0 }],
    ["no bytes at all", { maxMessageBytes: 0 }]
  ]
  it.effect.each(invalid)("%s is refused with what would be right", ([, options]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(AmqpPublisher.make(options))
      assert.strictEqual(error.reason._tag, "InvalidConfiguration")
    }).pipe(Effect.provide(connectionLayer), Effect.provide(AmqpMemory.layer)))
})
