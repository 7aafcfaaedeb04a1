import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpRedrive, AmqpTopology } from "effect-amqp"
import type { AmqpError, PublishError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import * as Virtual from "../support/Virtual.ts"

const versions = ["3.10", "4.0", "4.3"] as const

const on = (version: AmqpMemory.BrokerVersion, connection?: AmqpConnection.Options) =>
  AmqpChannel.layer().pipe(
    Layer.provideMerge(AmqpConnection.layer(connection)),
    Layer.provideMerge(AmqpMemory.layerWith({ version }))
  )

const queues = Effect.flatMap(
  AmqpChannel.AmqpChannel,
  (channel) =>
    Effect.forEach(
      ["classic", "quorum", "stream"],
      (type) => channel.declareQueue({ name: `a ${type}`, arguments: { "x-queue-type": type } })
    )
)

const refusal = <R>(effect: Effect.Effect<unknown, AmqpError.AmqpError | PublishError.PublishError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => `${reason._tag}: ${reason.message}`)

const epochs = Effect.map(
  Effect.flatMap(AmqpConnection.AmqpConnection, (connection) => connection.health),
  ({ sessions }) => sessions.map((session) => session._tag === "Connected" ? session.epoch : session._tag)
)

describe("what a type of queue does not have", () => {
  for (const version of versions) {
    it.effect(`is refused of a queue by name, and costs nobody the connection: ${version}`, () =>
      Effect.gen(function*() {
        yield* queues
        const channel = yield* AmqpChannel.AmqpChannel
        const neighbour = yield* AmqpConsumer.make("a classic", () => Effect.void)
        const before = yield* epochs
        const refusals: ReadonlyArray<Effect.Effect<unknown, AmqpError.AmqpError>> = [
          channel.get("a stream"),
          channel.get("a stream", { noAck: true }),
          channel.purgeQueue("a stream"),
          channel.deleteQueue("a stream", { ifUnused: true }),
          channel.deleteQueue("a stream", { ifEmpty: true }),
          channel.deleteQueue("a quorum", { ifUnused: true }),
          channel.deleteQueue("a quorum", { ifEmpty: true })
        ]
        for (const refused of refusals) assert.match(yield* refusal(refused), /^InvalidMessage: /)
        assert.match(
          yield* refusal(AmqpConsumer.make("a stream", () => Effect.void, { noAck: true })),
          /^InvalidConfiguration: .*noAck.*a stream is read with acknowledgements/
        )
        assert.match(yield* refusal(AmqpRedrive.redrive("a stream")), /^InvalidConfiguration: .*from.*is a stream/)
        yield* Virtual.settle
        assert.deepStrictEqual(yield* epochs, before)
        assert.strictEqual((yield* neighbour.health)._tag, "Attached")
        yield* channel.checkQueue("a stream")
        yield* channel.checkQueue("a quorum")
      }).pipe(Effect.provide(on(version))))
  }

  it.effect("is asked for without taking or counting a message", () =>
    Effect.gen(function*() {
      yield* queues
      const channel = yield* AmqpChannel.AmqpChannel
      const broker = yield* AmqpMemory.AmqpMemory
      for (const name of ["a classic", "a quorum"]) {
        yield* channel.declareExchange({ name, type: "fanout" })
        yield* channel.bindQueue(name, name)
      }
      assert.strictEqual(yield* channel.purgeQueue("a classic"), 0)
      assert.strictEqual(yield* channel.purgeQueue("a quorum"), 0)
      assert.deepStrictEqual((yield* channel.get("a quorum"))._tag, "None")
      assert.deepInclude(yield* broker.queue("a quorum"), { ready: 0, unacked: 0, consumers: 0 })
      assert.strictEqual(yield* channel.deleteQueue("a classic", { ifUnused: true, ifEmpty: true }), 0)
      assert.strictEqual(yield* channel.deleteQueue("no such queue", { ifUnused: true }), 0)
    }).pipe(Effect.provide(on("4.0"))))

  it.effect("is not asked for where a value or a topology tells it", () =>
    Effect.gen(function*() {
      const classic = AmqpTopology.queue("told", { type: "classic" })
      const channel = yield* AmqpChannel.AmqpChannel
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue("declared"), classic))
      yield* AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue("events", { type: "stream" })))
      const framesOf = <A>(effect: Effect.Effect<A, AmqpError.AmqpError>) =>
        Effect.gen(function*() {
          const before = yield* broker.operations
          yield* Effect.ignore(effect)
          return (yield* broker.operations) - before
        })
      const purge = yield* framesOf(channel.purgeQueue(classic))
      assert.strictEqual(yield* framesOf(channel.purgeQueue("declared")), purge)
      assert.strictEqual(yield* framesOf(channel.purgeQueue("told")), purge)
      assert.strictEqual(yield* framesOf(channel.purgeQueue("events")), 0)
      yield* channel.declareQueue({ name: "unknown" })
      assert.isAbove(yield* framesOf(channel.purgeQueue("unknown")), purge)
    }).pipe(Effect.provide(on("4.0"))))

  it.effect("is asked for also where the name is too long for the answer", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const before = yield* epochs
      const name = "s".repeat(250)
      yield* channel.declareQueue({ name, arguments: { "x-queue-type": "stream" } })
      assert.match(yield* refusal(channel.purgeQueue(name)), /^InvalidMessage: /)
      // RabbitMQ would end the connection for an answer that it cannot cut.
      const foreign = "é".repeat(120)
      yield* channel.declareQueue({ name: foreign })
      assert.strictEqual(yield* channel.purgeQueue(foreign), 0)
      assert.deepStrictEqual(yield* epochs, before)
    }).pipe(Effect.provide(on("4.0"))))
})
