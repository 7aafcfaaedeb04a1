import { assert, it } from "@effect/vitest"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as Probe from "effect-amqp-test-rig/Probe"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { existsSync } from "node:fs"
import { dirname } from "node:path"
import * as AmqpClient from "./AmqpClient.ts"

describeWithOwnNode("A throw-away node", () => {
  it.live("is killed and starts again at the same port with its durable messages", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      const before = yield* AmqpClient.make(broker.url)
      yield* Effect.promise(async () => {
        const channel = await before.connection.createConfirmChannel()
        await channel.assertQueue("kept", { durable: true })
        channel.sendToQueue("kept", Buffer.from("hello"), { persistent: true })
        await channel.waitForConfirms()
      })
      assert.deepStrictEqual(yield* broker.queueDepth("kept"), { ready: 1, unacked: 0, consumers: 0 })

      yield* broker.kill
      yield* Effect.promise(() => before.closed)
      assert.isFalse(yield* Probe.listens(broker.host, broker.port))
      assert.isTrue(Result.isFailure(yield* Effect.result(broker.kill)))

      yield* broker.start
      const after = yield* AmqpClient.make(broker.url)
      const message = yield* Effect.promise(() => after.channel.get("kept"))
      assert.strictEqual(message === false ? undefined : message.content.toString(), "hello")
    }))

  it.live("tells its clients when it is stopped, and starts again", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      const client = yield* AmqpClient.make(broker.url)
      yield* broker.stop
      const reason = yield* Effect.promise(() => client.closed)
      assert.propertyVal(reason, "code", 320)
      yield* broker.start
      yield* AmqpClient.make(broker.url)
    }))

  it.live("keeps its sockets and says nothing while it is frozen", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      yield* broker.freeze
      assert.isTrue(yield* Probe.listens(broker.host, broker.port))
      assert.isFalse(yield* Probe.speaksAmqp(broker.host, broker.port))
      yield* broker.thaw
      yield* Patience.until("the node speaks again", Probe.speaksAmqp(broker.host, broker.port))
    }))

  it.live("leaves no process and no directory behind", () =>
    Effect.gen(function*() {
      const { directory, pid } = yield* Effect.scoped(Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        return {
          pid: Number((yield* broker.evalErlang("os:getpid()")).replaceAll("\"", "")),
          directory: dirname((yield* broker.evalErlang("os:getenv(\"HOME\")")).replaceAll("\"", ""))
        }
      }))
      assert.throws(() => process.kill(pid, 0))
      assert.isFalse(existsSync(directory))
    }))

  it.live("boots with the limits it was given", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make({
        limits: { consumerTimeout: "2 seconds", channelTickInterval: "1 second", maxMessageSize: 1000 },
        settings: { heartbeat: 7 }
      })
      const limits = yield* broker.evalErlang(
        "[element(2, application:get_env(rabbit, Key)) || " +
          "Key <- [consumer_timeout, channel_tick_interval, max_message_size, heartbeat]]"
      )
      assert.strictEqual(limits, "[2000,1000,1000,7]")
    }))
})
