/**
 * Programs that live by their connection, as their users write them.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Effect, Layer, Logger, Redacted, Schedule, Stream } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"

const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
const topology = AmqpTopology.make(invoices)
const Worker = AmqpConsumer.layer(invoices, () => Effect.void)

describe("a program that watches its connection", () => {
  it.effect("logs every state of an outage as it is, and reads how its consumer is", () => {
    const states: Array<unknown> = []
    const Watch = Layer.effectDiscard(Effect.gen(function*() {
      const connection = yield* AmqpConnection.AmqpConnection
      yield* connection.changes.pipe(Stream.runForEach((state) => Effect.log(state)), Effect.forkScoped)
    }))
    return Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      yield* pass(100)
      assert.deepStrictEqual((yield* connection.health).consumers.map(({ _tag }) => _tag), ["Attached"])
      yield* broker.crash
      yield* pass(100)
      assert.deepStrictEqual((yield* connection.health).consumers.map(({ _tag }) => _tag), ["Detached"])
      yield* broker.start
      yield* pass(3000)
      assert.deepStrictEqual((yield* connection.health).consumers.map(({ _tag }) => _tag), ["Attached"])
      const tags = states.flatMap((state) =>
        typeof state === "object" && state !== null && "_tag" in state ? [state._tag] : []
      )
      for (const tag of ["Connected", "Reconnecting"]) assert.include(tags, tag)
      assert.strictEqual(tags.at(-1), "Connected")
    }).pipe(
      Effect.provide(
        Layer.merge(Watch, Worker).pipe(
          Layer.provide(AmqpTopology.layer(topology)),
          Layer.provideMerge(AmqpConnection.layer())
        )
      ),
      Effect.provide(AmqpMemory.layer),
      Effect.provide(Logger.layer([Logger.make(({ message }) => states.push(...[message].flat()))]))
    )
  })
})

describe("a program that goes on for ever", () => {
  const env = (env: Record<string, string>) => Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
  it.effect.each(
    [
      ["retry: { max: Infinity }", AmqpConnection.layer({ retry: { interval: "1 minute", max: Infinity } })],
      [
        "AMQP_RETRY_MAX=infinity",
        AmqpConnection.layerConfig().pipe(env({ AMQP_RETRY_MAX: "infinity", AMQP_RETRY_INTERVAL: "1 minute" }))
      ],
      ["a schedule", AmqpConnection.layer({ retry: Schedule.spaced("1 minute") })]
    ] as const
  )("is back after an outage of a day, by %s", ([, Connection]) =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const process = yield* Worker.pipe(
        Layer.provide(AmqpTopology.layer(topology)),
        Layer.provide(Connection),
        AmqpConnection.launch,
        Effect.forkChild({ startImmediately: true })
      )
      yield* pass(100)
      yield* broker.crash
      yield* pass(24 * 60 * 60_000, 60_000)
      assert.isUndefined(process.pollUnsafe())
      yield* broker.start
      yield* pass(2 * 60_000, 1000)
      assert.strictEqual((yield* broker.counts).consumers, 1)
    }).pipe(Effect.provide(AmqpMemory.layer)))
})

describe("a program whose brokers, credentials and certificates come from elsewhere", () => {
  it.effect("asks for each of them at each dial, and renews credentials before they expire", () =>
    Effect.gen(function*() {
      const asked = { brokers: 0, credentials: 0, certificates: 0 }
      const Discovery = { brokers: Effect.sync(() => (asked.brokers++, ["amqps://rabbit-1", "amqps://rabbit-2"])) }
      const Vault = {
        rabbitmq: Effect.gen(function*() {
          asked.credentials++
          const now = yield* Clock.currentTimeMillis
          return { username: "guest", password: Redacted.make("guest"), expires: new Date(now + 60_000) }
        })
      }
      const Certificates = { current: Effect.sync(() => (asked.certificates++, { ca: "-----BEGIN CERTIFICATE-----" })) }

      const Connection = AmqpConnection.layer({
        endpoints: Discovery.brokers,
        credentials: Vault.rabbitmq,
        tls: Certificates.current
      })
      yield* Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* pass(50_000)
        assert.deepStrictEqual(asked, { brokers: 1, credentials: 2, certificates: 1 })
        yield* broker.cutConnections
        yield* pass(3000)
        yield* publisher.publish({ routingKey: invoices.name, body: "paid" })
        assert.deepStrictEqual(asked, { brokers: 2, credentials: 3, certificates: 2 })
      }).pipe(
        Effect.provide(
          AmqpPublisher.layer().pipe(Layer.provide(AmqpTopology.layer(topology)), Layer.provide(Connection))
        )
      )
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
