import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"

const policy = AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("100 millis"), { times: 2 }))
const quorum = AmqpTopology.queue("work", { type: "quorum" })

const onShared = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SharedRabbitMq.make, ({ url }) =>
    test.pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(AmqpPublisher.layer({ confirmTimeout: "30 seconds" }), AmqpChannel.layer()).pipe(
          Layer.provideMerge(AmqpConnection.layer({ endpoints: url }))
        )
      )
    ))

const consume = (queue: string | AmqpTopology.Queue) =>
  Effect.scoped(AmqpConsumer.make(queue, () => Effect.void, { onFailure: policy }))

describeWithSharedBroker("the queues of a retry, before RabbitMQ", () => {
  it.live("that were made for a name serve the quorum queue, and the other way round", () =>
    onShared(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* AmqpTopology.declare(AmqpTopology.make(quorum))
      yield* consume("work")
      yield* consume(quorum)
      yield* channel.deleteQueue("work.retry.100")
      yield* channel.deleteQueue("work.parked")
      yield* consume(quorum)
      yield* consume("work")
    })))

  it.live("bring messages back, and park them so that thirty looks lose none", () =>
    onShared(Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(quorum))
      yield* consume("work")
      const attempts: Array<number> = []
      yield* AmqpConsumer.make(quorum, (delivery) =>
        Effect.suspend(() => {
          attempts.push(delivery.attempts)
          return Effect.fail(new Error("busy"))
        }), { onFailure: policy })
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publish({ routingKey: "work", body: "a" })
      const channel = yield* AmqpChannel.AmqpChannel
      const look = channel.get("work.parked").pipe(
        Effect.repeat({ until: (parked) => parked._tag === "Some", schedule: Schedule.spaced("50 millis") })
      )
      for (let looks = 0; looks < 30; looks++) {
        const parked = yield* look
        if (parked._tag === "None") return assert.fail("the message is not parked")
        assert.strictEqual(parked.value.headers["x-parked-reason"], "busy")
        yield* parked.value.nack({ requeue: true })
      }
      assert.deepStrictEqual(attempts, [1, 2, 3])
    })))
})
