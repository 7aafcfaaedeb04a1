import { assert, describe, it } from "@effect/vitest"
import type { Channel, ChannelModel } from "amqplib"
import * as amqplib from "amqplib"
import type { Scope } from "effect"
import { Effect } from "effect"
import { setImmediate } from "node:timers/promises"
import { connectionOf, methodId, privateOf } from "../../src/internal/amqplib/internals.ts"
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

  it.live("Connection.stream is the socket", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      assert.strictEqual(connectionOf(model).stream.localPort, peer.socket.remotePort)
    }))

  it.live("Connection.channels has a buffer by number, to which every method goes, and which is ended with its channel", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const connection = connectionOf(model)
      const channel = yield* Effect.promise(() => model.createChannel())
      const written: Array<string> = []
      for (const number of [0, 1]) {
        connection.channels[number]!.buffer = {
          write(frame) {
            written.push(`${frame.readUInt16BE(1)} ${frame.readUInt16BE(7)}.${frame.readUInt16BE(9)}`)
            return connection.stream.write(frame)
          },
          end: () => written.push(`end ${number}`)
        }
      }
      yield* Effect.promise(() => channel.checkQueue("q"))
      yield* Effect.promise(() => channel.close())
      yield* Effect.promise(() => model.close())
      assert.deepStrictEqual(written, ["1 50.10", "1 20.40", "end 1", "0 10.50"])
      assert.include(peer.received.map(({ name }) => name), "QueueDeclare")
    }))

  it.live("closeBecause is called before amqplib refuses to write, of a channel and of the connection", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const channel = yield* Effect.promise(() => model.createChannel())
      const called: Array<string> = []
      const internal = privateOf(channel)
      const connection = connectionOf(model)
      const close = internal.closeBecause.bind(internal)
      internal.closeBecause = (...args) => {
        called.push("channel")
        close(...args)
      }
      const closeConnection = connection.closeBecause.bind(connection)
      connection.closeBecause = (...args) => {
        called.push("connection")
        closeConnection(...args)
      }
      const closing = channel.close()
      assert.throws(() => channel.publish("", "q", Buffer.alloc(0)), amqplib.IllegalOperationError)
      yield* Effect.promise(() => closing)
      yield* Effect.promise(() => model.close())
      assert.deepStrictEqual(called, ["channel", "connection"])
    }))

  it.live("Channel.reply is null where no answer is to come", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const channel = yield* Effect.promise(() => model.createChannel())
      assert.isNull(privateOf(channel).reply)
      const checking = channel.checkQueue("q")
      assert.isNotNull(privateOf(channel).reply)
      yield* Effect.promise(() => checking)
      assert.isNull(privateOf(channel).reply)
    }))

  it.live("Connection.recvFrame decodes one frame of rest, and what it throws ends the connection", () =>
    Effect.gen(function*() {
      const { model, peer } = yield* connect()
      const connection = connectionOf(model)
      assert.strictEqual(connection.rest.length, 0)
      const receive = connection.recvFrame.bind(connection)
      connection.rest = ScriptedBroker.method("BasicQosOk", 3)
      assert.deepInclude(receive() as object, { channel: 3, id: 0x003c000b })
      assert.strictEqual(connection.rest.length, 0)
      connection.recvSinceLastCheck = false
      assert.isFalse(receive())
      const failure = new Error("as told")
      connection.recvFrame = () => {
        throw failure
      }
      const closed = new Promise<unknown>((resolve) => model.once("close", resolve))
      peer.send(["BasicQosOk", 1, {}])
      assert.strictEqual(yield* Effect.promise(() => closed), failure)
    }))

  it.live("Connection.recvSinceLastCheck is true once something was read, and the heartbeat asks for it", () =>
    Effect.gen(function*() {
      const { model } = yield* connect()
      const connection = connectionOf(model) as ReturnType<typeof connectionOf> & { checkRecv(): boolean }
      connection.recvSinceLastCheck = false
      assert.isFalse(connection.checkRecv())
      yield* Effect.promise(() => model.createChannel())
      assert.isTrue(connection.recvSinceLastCheck)
      assert.isTrue(connection.checkRecv())
      assert.isFalse(connection.recvSinceLastCheck)
    }))

  it.live("a basic.get resolves with the fields of two frames, as they are", () =>
    Effect.gen(function*() {
      const { model } = yield* connect({ on: ({ name }) => name === "BasicGet" })
      const channel = yield* Effect.promise(() => model.createChannel())
      const getting = channel.get("q")
      const fields = { deliveryTag: 1 }
      const properties = { messageId: "m" }
      const connection = connectionOf(model)
      connection.accept({ id: methodId.getOk, channel: 1, fields })
      connection.accept({ id: methodId.properties, channel: 1, size: 0, fields: properties })
      const message = yield* Effect.promise(() => getting)
      assert.isTrue(message !== false && message.fields as unknown === fields)
      assert.isTrue(message !== false && message.properties as unknown === properties)
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
