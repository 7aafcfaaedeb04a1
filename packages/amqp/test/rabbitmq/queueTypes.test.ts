import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { AmqpError, PublishError } from "effect-amqp"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpRedrive } from "effect-amqp"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"

const reasonOf = <R>(effect: Effect.Effect<unknown, AmqpError.AmqpError | PublishError.PublishError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

describeWithSharedBroker("what a type of queue does not have on RabbitMQ", () => {
  it.live("is refused of a queue by name, and costs nobody the connection", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        const channel = yield* AmqpChannel.AmqpChannel
        yield* Effect.forEach(["classic", "quorum", "stream"], (type) =>
          channel.declareQueue({ name: type, arguments: { "x-queue-type": type } }))
        const neighbour = yield* AmqpConsumer.make("classic", () =>
          Effect.void)
        const before = yield* connection.health
        for (const asked of ["get", "purgeQueue"] as const) {
          assert.strictEqual(yield* reasonOf(channel[asked]("stream")), "InvalidMessage")
          yield* channel[asked]("classic")
          yield* channel[asked]("quorum")
        }
        for (const name of ["stream", "quorum"]) {
          for (const options of [{ ifUnused: true }, { ifEmpty: true }]) {
            assert.strictEqual(yield* reasonOf(channel.deleteQueue(name, options)), "InvalidMessage")
          }
          yield* channel.checkQueue(name)
        }
        const unacknowledged = AmqpConsumer.make("stream", () => Effect.void, { noAck: true })
        assert.strictEqual(yield* reasonOf(unacknowledged), "InvalidConfiguration")
        assert.strictEqual(yield* reasonOf(AmqpRedrive.redrive("stream")), "InvalidConfiguration")
        assert.strictEqual(yield* reasonOf(channel.purgeQueue("missing")), "NotFound")
        assert.strictEqual(yield* channel.deleteQueue("missing", { ifEmpty: true }), 0)
        assert.strictEqual((yield* neighbour.health)._tag, "Attached")
        assert.deepStrictEqual((yield* connection.health).sessions, before.sessions)
        yield* channel.declareQueue({ name: "unused" })
        assert.strictEqual(yield* channel.deleteQueue("unused", { ifUnused: true, ifEmpty: true }), 0)
      }).pipe(
        Effect.scoped,
        Effect.provide(
          AmqpChannel.layer().pipe(
            Layer.provideMerge(AmqpConnection.layer({ endpoints: url, operationTimeout: Patience.limit }))
          )
        )
      )
    }))
})
