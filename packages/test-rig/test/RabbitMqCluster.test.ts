import { assert, it } from "@effect/vitest"
import * as RabbitMqCluster from "effect-amqp-test-rig/RabbitMqCluster"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
import * as AmqpClient from "./AmqpClient.ts"

describeWithOwnNode("A cluster", () => {
  it.live("keeps a quorum queue's messages when the leader is killed, and takes it back", () =>
    Effect.gen(function*() {
      const cluster = yield* RabbitMqCluster.make()
      assert.lengthOf(cluster.nodes, 3)
      const [first] = cluster.urls
      const client = yield* AmqpClient.make(first ?? "")
      yield* Effect.promise(async () => {
        const channel = await client.connection.createConfirmChannel()
        await channel.assertQueue("kept", { durable: true, arguments: { "x-queue-type": "quorum" } })
        channel.sendToQueue("kept", Buffer.from("hello"), { persistent: true })
        await channel.waitForConfirms()
      })

      const leader = yield* cluster.leaderOf("kept")
      yield* leader.kill
      const successor = yield* cluster.leaderOf("kept").pipe(
        Effect.retry({ times: 100 }),
        Effect.repeat({ times: 100, until: (node) => node.name !== leader.name })
      )
      assert.notStrictEqual(successor.name, leader.name)
      const survivor = yield* AmqpClient.make(successor.url)
      const message = yield* Effect.promise(() => survivor.channel.get("kept"))
      assert.strictEqual(message === false ? undefined : message.content.toString(), "hello")

      yield* leader.start
      yield* AmqpClient.make(leader.url)
    }), 120_000)
})
