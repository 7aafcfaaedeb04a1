import { assert, it } from "@effect/vitest"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
import * as AmqpClient from "./AmqpClient.ts"

describeWithOwnNode("A lever", () => {
  it.layer(RabbitMq.layer(), { timeout: Patience.limit, excludeTestServices: true })((it) => {
    it.effect("closes all connections with a text", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const client = yield* AmqpClient.make(broker.url)
        yield* broker.closeAllConnections("tidying \"up\"")
        const reason = yield* Effect.promise(() => client.closed)
        assert.propertyVal(reason, "code", 320)
        assert.include(reason?.message, "tidying \"up\"")
      }))

    it.effect("kills all connections without a word", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const client = yield* AmqpClient.make(broker.url)
        yield* broker.killAllConnections
        const reason = yield* Effect.promise(() => client.closed)
        assert.notPropertyVal(reason, "code", 320)
      }))

    it.effect("raises and clears a memory alarm and a disk alarm", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const client = yield* AmqpClient.make(broker.url)
        for (
          const [set, clear, reason] of [
            [broker.setMemoryAlarm, broker.clearMemoryAlarm, "low on memory"],
            [broker.setDiskAlarm, broker.clearDiskAlarm, "low on disk"]
          ] as const
        ) {
          const blocked = new Promise<string>((resolve) => client.connection.once("blocked", resolve))
          const unblocked = new Promise<void>((resolve) => client.connection.once("unblocked", resolve))
          yield* set
          client.channel.publish("", "nobody", Buffer.from("the alarm is only told to whoever publishes"))
          assert.strictEqual(yield* Effect.promise(() => blocked), reason)
          yield* clear
          yield* Effect.promise(() => unblocked)
        }
      }))

    it.effect("counts what clients have opened, and nothing once they are gone", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const nothing = yield* broker.counts
        yield* Effect.scoped(Effect.gen(function*() {
          const { channel } = yield* AmqpClient.make(broker.url)
          yield* Effect.promise(async () => {
            await channel.assertQueue("classic", { durable: true })
            await channel.assertQueue("quorum", { durable: true, arguments: { "x-queue-type": "quorum" } })
            for (const queue of ["classic", "quorum"]) {
              await channel.prefetch(2)
              for (let sent = 0; sent < 5; sent++) {
                channel.sendToQueue(queue, Buffer.from("x"))
              }
              await new Promise<void>((resolve) => {
                let received = 0
                void channel.consume(queue, () => {
                  received += 1
                  if (received === 2) {
                    resolve()
                  }
                })
              })
            }
          })
          const quorum = yield* broker.queueDepth("quorum").pipe(
            Effect.repeat({ until: (depth) => depth.ready + depth.unacked === 5 }),
            Patience.within("the quorum queue knows of its 5 messages")
          )
          assert.deepStrictEqual(quorum, { ready: 3, unacked: 2, consumers: 1 })
          assert.deepStrictEqual(yield* broker.queueDepth("classic"), { ready: 3, unacked: 2, consumers: 1 })
          assert.deepStrictEqual(yield* broker.counts, {
            connections: 1,
            channels: 1,
            queues: nothing.queues + 2,
            consumers: 2,
            messagesReady: 6,
            messagesUnacked: 4
          })
          yield* Effect.promise(async () => {
            await channel.deleteQueue("classic")
            await channel.deleteQueue("quorum")
          })
        }))
        const after = yield* broker.counts.pipe(
          Effect.repeat({ until: (counts) => counts.connections === 0 }),
          Patience.within("the connection is gone")
        )
        assert.deepStrictEqual(after, nothing)
      }))

    it.effect("counts the messages that a quorum queue is dead-lettering, which nothing else counts", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const { channel } = yield* AmqpClient.make(broker.url)
        yield* Effect.promise(async () => {
          await channel.assertQueue("waiting", {
            durable: true,
            arguments: {
              "x-queue-type": "quorum",
              "x-message-ttl": 100,
              "x-dead-letter-exchange": "",
              "x-dead-letter-routing-key": "nowhere",
              "x-dead-letter-strategy": "at-least-once",
              "x-overflow": "reject-publish"
            }
          })
          for (let sent = 0; sent < 7; sent++) channel.sendToQueue("waiting", Buffer.from("x"), { persistent: true })
        })
        yield* broker.queueDepth("waiting").pipe(
          Effect.repeat({ until: ({ ready, unacked }) => ready === 0 && unacked === 7 }),
          Patience.within("the queue is dead-lettering its 7 messages")
        )
        yield* Effect.promise(() => channel.deleteQueue("waiting"))
      }).pipe(Effect.scoped))

    it.effect("fails to give the depth of a queue that is not there", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const error = yield* Effect.flip(broker.queueDepth("nowhere"))
        assert.include(error.message, "not_found")
      }))

    it.effect("adds and deletes virtual hosts and users, and says what they may do", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const vhost = "ein/ü vhost"
        yield* broker.addVhost(vhost)
        yield* broker.addUser("reader", "geheim")
        const url = `amqp://reader:geheim@${broker.host}:${broker.port}/${encodeURIComponent(vhost)}`
        yield* Effect.flip(AmqpClient.make(url))
        yield* broker.setPermissions("reader", vhost, { configure: "^$", write: "^$" })
        const reader = yield* AmqpClient.make(url)
        const refusal = yield* Effect.flip(
          Effect.tryPromise({ try: () => reader.channel.assertQueue("mine"), catch: (cause) => cause })
        )
        assert.propertyVal(refusal, "code", 403)
        yield* broker.deleteUser("reader")
        yield* Effect.promise(() => reader.closed)
        yield* broker.deleteVhost(vhost)
        assert.strictEqual(yield* broker.evalErlang(`rabbit_vhost:exists(${utf8Binary(vhost)})`), "false")
      }))

    it.effect("lowers a limit of the running node", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        yield* broker.setLimits({ maxMessageSize: 10 })
        const { channel } = yield* AmqpClient.make(broker.url)
        const closed = new Promise<Error>((resolve) => channel.once("error", resolve))
        channel.sendToQueue("nobody", Buffer.alloc(11))
        assert.propertyVal(yield* Effect.promise(() => closed), "code", 406)
        yield* broker.setLimits({ maxMessageSize: 134_217_728 })
      }))

    it.effect("reports what Erlang raises", () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.RabbitMq
        const error = yield* Effect.flip(broker.evalErlang("throw({my, <<\"own\">>})"))
        assert.include(error.message, "{throw,{my,<<\"own\">>}}")
        assert.strictEqual(
          yield* broker.evalErlang("X = \"a\\\"b\", [X, <<\"ü\"/utf8>>, 1.5]"),
          "[\"a\\\"b\",<<\"ü\"/utf8>>,1.5]"
        )
      }))
  })
})

const utf8Binary = (text: string): string => `<<"${text}"/utf8>>`
