import { assert, layer } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import type { AmqpMemory } from "effect-amqp-memory"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import { TestClock } from "effect/testing"
import { Broker, versionNumber } from "./contract/Broker.ts"
import * as Client from "./contract/Client.ts"
import * as Memory from "./contract/memory.ts"
import * as Real from "./contract/rabbitMq.ts"
import { observe } from "./contract/randomOperations.ts"

const sequences = 500

/** Sequences that run on the real broker at the same time. */
const concurrency = 16

const dialectOf = (version: number): AmqpMemory.BrokerVersion => version < 4 ? "3.10" : version < 4.03 ? "4.0" : "4.3"

const onReal = (seed: number) =>
  Effect.scoped(Effect.flatMap(Client.connect(), (connection) => observe(connection, seed, `s${seed}-`)))

/** Gives the node ten times as long for what it does by itself, so that a busy machine makes no difference. */
const unhurried = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideServiceEffect(
    effect,
    Broker,
    Effect.map(Broker, (broker) => ({
      ...broker,
      elapse: (duration: Duration.Input) => broker.elapse(Duration.times(Duration.fromInputUnsafe(duration), 10))
    }))
  )

const onMemory = (seed: number, version: AmqpMemory.BrokerVersion) =>
  onReal(seed).pipe(Effect.provide(Layer.provideMerge(Memory.layer(version), TestClock.layer())))

describeWithOwnNode("random sequences of operations", () => {
  layer(RabbitMq.layer(), { timeout: Patience.limit, excludeTestServices: true })((it) => {
    it.effect(
      `${sequences} sequences show the same on the memory broker and on RabbitMQ`,
      () =>
        Effect.gen(function*() {
          const { version } = yield* RabbitMq.RabbitMq
          const dialect = dialectOf(versionNumber(version))
          const differing: Array<{ readonly seed: number; readonly memory: unknown; readonly real: unknown }> = []
          yield* Effect.forEach(
            Array.from({ length: sequences }, (_, i) => i + 1),
            Effect.fnUntraced(function*(seed) {
              const memory = yield* onMemory(seed, dialect)
              const differs = (real: unknown) => JSON.stringify(real) !== JSON.stringify(memory)
              if (!differs(yield* onReal(seed))) return
              const real = yield* unhurried(onReal(seed))
              if (differs(real)) differing.push({ seed, memory, real })
            }),
            { concurrency, discard: true }
          ).pipe(Effect.provide(Real.layer))
          process.stdout.write(
            `random comparison: ${sequences} sequences ran on the memory broker and on RabbitMQ ${version}, ` +
              `${differing.length} differ\n`
          )
          const [first] = differing
          assert.deepStrictEqual(first?.memory, first?.real, `the sequence of seed ${first?.seed}`)
        })
    )
  })
})
