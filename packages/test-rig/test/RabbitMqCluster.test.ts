import { assert, it } from "@effect/vitest"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMqCluster from "effect-amqp-test-rig/RabbitMqCluster"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as AmqpClient from "./AmqpClient.ts"

describeWithOwnNode("A cluster", () => {
  it.live("keeps a quorum queue's messages when the leader is killed, and takes it back", () =>
    Effect.gen(function*() {
      const cluster = yield* RabbitMqCluster.make()
      assert.lengthOf(cluster.nodes, 3)
      const [first] = cluster.urls
      // A node on a busy machine may end a channel whose queue has no leader yet.
      yield* Effect.flatMap(AmqpClient.make(first ?? ""), (client) =>
        Effect.tryPromise(async () => {
          const channel = await client.connection.createConfirmChannel()
          channel.on("error", () => {})
          await channel.assertQueue("kept", { durable: true, arguments: { "x-queue-type": "quorum" } })
          channel.sendToQueue("kept", Buffer.from("hello"), { persistent: true })
          await channel.waitForConfirms()
        })).pipe(
          Effect.scoped,
          Effect.retry(Schedule.spaced("200 millis")),
          Patience.within("the quorum queue confirms a message")
        )

      const leader = yield* cluster.leaderOf("kept")
      yield* leader.kill
      const successor = yield* cluster.leaderOf("kept").pipe(
        Effect.retry(Schedule.spaced("100 millis")),
        Effect.repeat({ until: (node) => node.name !== leader.name, schedule: Schedule.spaced("100 millis") }),
        Patience.within("the quorum queue has another leader")
      )
      assert.notStrictEqual(successor.name, leader.name)
      const message = yield* Effect.flatMap(AmqpClient.make(successor.url), ({ channel }) =>
        Effect.tryPromise(() => channel.get("kept"))).pipe(
          Effect.scoped,
          Effect.retry(Schedule.spaced("200 millis")),
          Patience.within("the new leader answers")
        )
      assert.strictEqual(message === false ? undefined : message.content.toString(), "hello")

      yield* leader.start
      yield* AmqpClient.make(leader.url)
    }))
})
