import { assert, describe, it } from "@effect/vitest"
import type { Channel, ChannelModel, ConfirmChannel, Message } from "amqplib"
import * as amqplib from "amqplib"
import type { Scope } from "effect"
import { Effect } from "effect"
import { setImmediate } from "node:timers/promises"
import type { Chunk } from "../../src/internal/amqplib/internals.ts"
import { cancelOnce, connectionOf, frameOverhead, onConfirm, writerOf } from "../../src/internal/amqplib/internals.ts"
import * as ScriptedBroker from "../support/ScriptedBroker.ts"

const until = async (holds: () => boolean) => {
  while (!holds()) await setImmediate()
}

const connect = (
  script: ScriptedBroker.Script = {},
  options: object = {}
): Effect.Effect<{ readonly model: ChannelModel; readonly peer: ScriptedBroker.Peer }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const broker = yield* ScriptedBroker.make(script)
    const model = yield* Effect.promise(() => amqplib.connect({ hostname: broker.host, port: broker.port, ...options }))
    model.on("error", () => {})
    return { model, peer: broker.peers[0]! }
  })

const message = {
  exchange: "",
  routingKey: "q",
  mandatory: true,
  properties: { contentType: "text/plain", deliveryMode: 2, headers: { a: 1 }, messageId: "m" },
  body: new Uint8Array()
}

describe("amqplib's private names do what internals.ts says", () => {
  it.live("Connection carries what the handshake agreed on", () =>
    Effect.gen(function*() {
      const { model } = yield* connect({ tune: { channelMax: 7, frameMax: 8192 } })
      const connection = connectionOf(model)
      assert.deepStrictEqual(connection.serverProperties, { product: "scripted" })
      assert.strictEqual(connection.frameMax, 8192)
      assert.strictEqual(connection.channelMax, 7)
    }))

  it.live("Connection.expectSocketClose is true once the connection has ended", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      assert.isFalse(connectionOf(model).expectSocketClose)
      peer.socket.destroy()
      yield* Effect.promise(() => until(() => connectionOf(model).expectSocketClose))
    }))

  it.live("Connection.freshChannel is called inside createChannel, before anything is written", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const connection = connectionOf(model)
      const fresh = connection.freshChannel.bind(connection)
      const channels: Array<Channel> = []
      connection.freshChannel = (channel, options) => {
        channels.push(channel)
        assert.isFalse(peer.received.some(({ name }) => name === "ChannelOpen"))
        return fresh(channel, options)
      }
      const opening = model.createConfirmChannel()
      assert.strictEqual(channels.length, 1)
      assert.strictEqual(channels[0], yield* Effect.promise(() => opening))
    }))

  it.live("Connection.freeChannels holds the numbers that freshChannel passes over", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const { channels, freeChannels } = connectionOf(model)
      freeChannels.set(1)
      yield* Effect.promise(() => model.createChannel())
      assert.isUndefined(channels[1])
      assert.isDefined(channels[2])
      freeChannels.clear(1)
      yield* Effect.promise(() => model.createChannel())
      assert.isDefined(channels[1])
    }))

  it.live("Connection.freshChannel says that no channels are left beyond channelMax", () =>
    Effect.gen(function*() {
      const { model } = yield* connect({ tune: { channelMax: 1 } })
      yield* Effect.promise(() => model.createChannel())
      const error = yield* Effect.promise(() => model.createChannel().catch((error: unknown) => error))
      assert.match(String(error), /No channels left/)
    }))

  it.live("Connection.accept takes every frame, and channels is null where the broker closed one", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const connection = connectionOf(model)
      const channel = yield* Effect.promise(() => model.createChannel())
      channel.on("error", () => {})
      const ids: Array<number | undefined> = []
      const accept = connection.accept
      connection.accept = (frame) => {
        ids.push(frame.id)
        accept.call(connection, frame)
      }
      peer.send(["ChannelClose", 1, { replyCode: 406, replyText: "t", classId: 60, methodId: 80 }])
      yield* Effect.promise(() => until(() => ids.length > 0))
      assert.deepStrictEqual(ids, [0x00140028])
      assert.isNull(connection.channels[1])
    }))

  it.live("Connection.maxFrameSize refuses a payload by the head of its frame", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const connection = connectionOf(model)
      connection.maxFrameSize = 100 - frameOverhead
      const error = new Promise<Error>((resolve) => model.once("error", resolve))
      const head = ScriptedBroker.frame(3, 1, new Uint8Array(), 93)
      peer.write(head.subarray(0, 7))
      assert.match(String(yield* Effect.promise(() => error)), /Frame size 93 exceeds/)
    }))

  it.live("the option maxFrameSize holds during the handshake", () =>
    Effect.gen(function*() {
      const broker = yield* ScriptedBroker.make({
        on: ({ name }, peer) => {
          if (name !== "ConnectionStartOk") return false
          peer.write(ScriptedBroker.frame(1, 0, new Uint8Array(), 5000).subarray(0, 7))
          return true
        }
      })
      const error = yield* Effect.promise(() =>
        amqplib.connect({ hostname: broker.host, port: broker.port, maxFrameSize: 4999 } as amqplib.Options.Connect)
          .catch((error: unknown) => error)
      )
      assert.match(String(error), /Frame size 5000 exceeds/)
    }))

  it.live("Connection.channels has a buffer by number, whose chunks go to Muxer.out as they are, once a turn", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const connection = connectionOf(model)
      yield* Effect.promise(() => model.createChannel())
      const written: Array<Chunk> = []
      connection.muxer.out = { write: (chunk) => written.push(chunk) > 0 }
      let reads = 0
      const read = connection.muxer._readIncoming.bind(connection.muxer)
      connection.muxer._readIncoming = () => {
        reads++
        read()
      }
      const parts = [Buffer.from("a"), Buffer.from("b")]
      assert.isTrue(connection.channels[1]!.buffer.write(parts))
      assert.isTrue(connection.channels[1]!.buffer.write(Buffer.from("c")))
      assert.deepStrictEqual(written, [])
      yield* Effect.promise(() => until(() => reads > 0))
      assert.deepStrictEqual(written, [parts, Buffer.from("c")])
      assert.strictEqual(written[0], parts)
    }))

  it.live("Connection.sentSinceLastCheck is true once a method was written, and the heartbeat asks for it", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const connection = connectionOf(model) as ReturnType<typeof connectionOf> & { checkSend(): boolean }
      connection.sentSinceLastCheck = false
      assert.isFalse(connection.checkSend())
      connection.sentSinceLastCheck = true
      assert.isTrue(connection.checkSend())
      assert.isFalse(connection.sentSinceLastCheck)
      yield* Effect.promise(() => model.createChannel())
      assert.isTrue(connection.sentSinceLastCheck)
    }))

  it.live("Connection.sendContent writes the bodies of messages of 2 KiB and more", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const connection = connectionOf(model)
      const channel = yield* Effect.promise(() => model.createChannel())
      const sizes: Array<number> = []
      connection.sendContent = (number, body) => {
        assert.strictEqual(number, 1)
        return sizes.push(body.length) > 0
      }
      writerOf(channel).sendMessage(message, message.properties, Buffer.alloc(1000))
      writerOf(channel).sendMessage(message, message.properties, Buffer.alloc(2048))
      assert.deepStrictEqual(sizes, [2048])
    }))

  it.live("Channel.sendMessage writes a message of the port, and returns false when the buffer is full", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const channel = yield* Effect.promise(() => model.createChannel())
      let drained = false
      channel.on("drain", () => {
        drained = true
      })
      let writable = true
      for (let n = 0; n < 3000 && writable; n++) {
        writable = writerOf(channel).sendMessage(message, message.properties, Buffer.from("x"))
      }
      assert.isFalse(writable)
      yield* Effect.promise(() => until(() => drained))
      yield* Effect.promise(() => until(() => peer.received.some(({ name }) => name === "BasicPublish")))
      const first = peer.received.find(({ name }) => name === "BasicPublish")
      assert.deepInclude(first?.fields, { exchange: "", routingKey: "q", mandatory: true })
    }))

  it.live("Channel.sendMessage throws IllegalOperationError on a channel that has ended, and TypeError for a wrong type", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const channel = yield* Effect.promise(() => model.createChannel())
      const writer = writerOf(channel)
      const wrong = { ...message.properties, messageId: 7 } as unknown as typeof message.properties
      assert.throws(() => writer.sendMessage(message, wrong, Buffer.alloc(0)), TypeError, /^Field 'messageId'/)
      yield* Effect.promise(() => channel.close())
      assert.throws(
        () => writer.sendMessage(message, message.properties, Buffer.alloc(0)),
        amqplib.IllegalOperationError
      )
    }))

  it.live("a confirm channel's events ack and nack carry the fields, and have one listener of amqplib's each", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const channel: ConfirmChannel = yield* Effect.promise(() => model.createConfirmChannel())
      assert.strictEqual(channel.listenerCount("ack"), 1)
      assert.strictEqual(channel.listenerCount("nack"), 1)
      const confirms: Array<unknown> = []
      onConfirm(channel, ({ deliveryTag, multiple }, ack) => confirms.push([deliveryTag, multiple, ack]))
      assert.strictEqual(channel.listenerCount("ack"), 1)
      assert.strictEqual(channel.listenerCount("nack"), 1)
      peer.send(
        ["BasicAck", 1, { deliveryTag: 3, multiple: true }],
        ["BasicNack", 1, { deliveryTag: 4, multiple: false }]
      )
      yield* Effect.promise(() => until(() => confirms.length === 2))
      assert.deepStrictEqual(confirms, [[3, true, true], [4, false, false]])
    }))

  it.live("BaseChannel.consumers holds the callbacks, and the event cancel has one listener of amqplib's", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const channel = yield* Effect.promise(() => model.createChannel())
      assert.strictEqual(channel.listenerCount("cancel"), 1)
      cancelOnce(channel)
      assert.strictEqual(channel.listenerCount("cancel"), 1)
      const told: Array<Message | null> = []
      yield* Effect.promise(() => channel.consume("q", (message) => told.push(message), { consumerTag: "t" }))
      peer.send(["BasicCancel", 1, { consumerTag: "t", nowait: true }])
      yield* Effect.promise(() => until(() => told.length > 0))
      assert.deepStrictEqual(told, [null])
      peer.send(["BasicCancel", 1, { consumerTag: "t", nowait: true }])
      peer.write(ScriptedBroker.delivery(1, { consumerTag: "t", deliveryTag: 9 }, {}, Buffer.alloc(0)))
      yield* Effect.promise(() => until(() => peer.received.some(({ name }) => name === "BasicNack")))
      const answers = peer.received.slice(-2).map((
        { fields, name }
      ) => [name, fields["consumerTag"] ?? fields["deliveryTag"]])
      assert.deepStrictEqual(answers, [["BasicCancel", "t"], ["BasicNack", 9]])
      assert.deepStrictEqual(told, [null])
    }))

  it.live("an acknowledgement reads nothing of a message but its delivery tag", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const channel = yield* Effect.promise(() => model.createChannel())
      const tagged = { fields: { deliveryTag: 5 } } as unknown as Message
      channel.ack(tagged, true)
      channel.nack(tagged, false, true)
      channel.reject(tagged, false)
      yield* Effect.promise(() => until(() => peer.received.some(({ name }) => name === "BasicReject")))
      const acknowledgements = peer.received.slice(-3).map(({ fields, name }) => [name, fields["deliveryTag"]])
      assert.deepStrictEqual(acknowledgements, [["BasicAck", 5], ["BasicNack", 5], ["BasicReject", 5]])
    }))
})

describe("amqplib's texts are those that errors.ts reads", () => {
  const refused = (script: ScriptedBroker.Script) =>
    Effect.gen(function*() {
      const broker = yield* ScriptedBroker.make(script)
      const error = yield* Effect.promise(() =>
        amqplib.connect({ hostname: broker.host, port: broker.port }).catch((error: unknown) => error)
      )
      return String(error)
    })

  it.live("of a mechanism that the broker does not offer", () =>
    Effect.gen(function*() {
      assert.include(yield* refused({ mechanisms: "EXTERNAL" }), "SASL mechanism PLAIN is not provided")
    }))

  it.live("of a handshake that the broker ends", () =>
    Effect.gen(function*() {
      const text = yield* refused({
        on: ({ name }, peer) => {
          if (name !== "ConnectionStartOk") return false
          peer.send(["ConnectionClose", 0, { replyCode: 403, replyText: "no", classId: 0, methodId: 0 }])
          return true
        }
      })
      assert.include(text, `Handshake terminated by server: 403 (ACCESS-REFUSED) with message "no"`)
    }))

  it.live("of a virtual host that the broker refuses", () =>
    Effect.gen(function*() {
      const text = yield* refused({
        on: ({ name }, peer) => {
          if (name !== "ConnectionOpen") return false
          peer.send(["ConnectionClose", 0, { replyCode: 530, replyText: "no", classId: 0, methodId: 0 }])
          return true
        }
      })
      assert.include(text, "Expected ConnectionOpenOk; got <ConnectionClose")
    }))

  it.live("of a socket that ends without a goodbye, and of a close by the broker", () =>
    Effect.gen(function*() {
      const ended = (how: (peer: ScriptedBroker.Peer) => void) =>
        Effect.gen(function*() {
          const { model, peer } = yield* connect()
          const closed = new Promise<unknown>((resolve) => model.once("close", resolve))
          how(peer)
          return (yield* Effect.promise(() => closed)) as Error & { readonly code?: number }
        })
      const bare = yield* ended((peer) => peer.socket.end())
      assert.strictEqual(bare.message, "Unexpected close")
      const said = yield* ended((peer) =>
        peer.send(["ConnectionClose", 0, { replyCode: 320, replyText: "bye", classId: 0, methodId: 0 }])
      )
      assert.strictEqual(said.code, 320)
      assert.match(said.message, /with message "bye"$/)
    }))

  it.live("of a channel that the broker closes", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const channel = yield* Effect.promise(() => model.createChannel())
      const failed = new Promise<unknown>((resolve) => channel.once("error", resolve))
      peer.send(["ChannelClose", 1, { replyCode: 404, replyText: "no queue", classId: 60, methodId: 20 }])
      const error = (yield* Effect.promise(() => failed)) as Error & Record<string, unknown>
      assert.match(error.message, /with message "no queue"$/)
      assert.deepInclude(error, { code: 404, classId: 60, methodId: 20 })
    }))
})
