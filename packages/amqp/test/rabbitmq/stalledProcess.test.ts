import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"

const slow = AmqpTopology.queue("slow", { type: "quorum" })

/** Lets nothing happen in this process: no timer, no read, no fiber. */
const standStill = (millis: number) =>
  Effect.sync(() => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis))

describeWithOwnNode("a process that stood still over several checks of the acknowledgement timeout", () => {
  it.live(
    "keeps its connection, whatever the broker has repeated meanwhile",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make({
          limits: { consumerTimeout: "2 seconds", channelTickInterval: "1 second" }
        })
        yield* Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.AmqpPublisher
          const connection = yield* AmqpConnection.AmqpConnection
          const epochs = Effect.map(
            connection.health,
            ({ sessions }) => sessions.map((state) => state._tag === "Connected" ? state.epoch : state._tag)
          )
          const handled: Array<string> = []
          const consumer = yield* AmqpConsumer.make(
            slow,
            (delivery) =>
              Effect.gen(function*() {
                if (delivery.redelivered) {
                  handled.push(yield* delivery.text)
                } else {
                  yield* Effect.sleep("500 millis")
                  yield* standStill(2500)
                }
              }),
            { concurrency: 3 }
          )
          for (const body of ["a", "b", "c"]) yield* publisher.publish({ routingKey: "slow", body })
          yield* Effect.repeat(Effect.sync(() => handled.length), {
            schedule: Schedule.spaced("50 millis"),
            until: (count) => count >= 3
          }).pipe(Effect.timeout("40 seconds"))
          assert.deepStrictEqual(handled.toSorted(), ["a", "b", "c"])
          assert.deepStrictEqual(yield* epochs, [1, 2])
          assert.strictEqual((yield* consumer.health)._tag, "Attached")
        }).pipe(
          Effect.scoped,
          Effect.provide(
            AmqpPublisher.layer().pipe(
              Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(slow))),
              Layer.provideMerge(AmqpConnection.layer({ endpoints: broker.url, heartbeat: "30 seconds" }))
            )
          )
        )
      }),
    90_000
  )
})
