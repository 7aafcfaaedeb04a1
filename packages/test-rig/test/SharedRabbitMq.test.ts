import { assert, it } from "@effect/vitest"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as AmqpClient from "./AmqpClient.ts"

describeWithSharedBroker("The shared broker", () => {
  it.live("lets every test in, each at its own virtual host where it can have one", () =>
    Effect.gen(function*() {
      const one = yield* SharedRabbitMq.make
      const other = yield* SharedRabbitMq.make
      const client = yield* AmqpClient.make(one.url)
      yield* Effect.promise(() => client.channel.assertQueue("mine", { exclusive: true }))
      yield* AmqpClient.make(other.url)
      assert.strictEqual(one.port, other.port)
      if (Option.isSome(one.levers)) {
        assert.notStrictEqual(one.vhost, other.vhost)
        assert.deepStrictEqual(yield* one.levers.value.queueDepth("mine", one.vhost), {
          ready: 0,
          unacked: 0,
          consumers: 0
        })
      }
    }))
})
