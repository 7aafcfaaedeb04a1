import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted } from "effect"
import { AmqpDriver, AmqpError, AmqplibDriver } from "effect-amqp"
import * as ScriptedBroker from "../support/ScriptedBroker.ts"

const closedByTest = new AmqpError.AmqpError({ operation: "test", reason: new AmqpError.ConnectionClosed() })

/** A connection to a scripted broker, how it ended, and what happened on its channels. */
const connect = (
  script: ScriptedBroker.Script = {},
  options: Partial<AmqpDriver.DriverConnectOptions> = {}
) =>
  Effect.gen(function*() {
    const broker = yield* ScriptedBroker.make(script)
    const ended = yield* Deferred.make<AmqpError.AmqpErrorReason>()
    const connection = yield* Effect.acquireRelease(
      AmqplibDriver.driver.connect({
        host: broker.host,
        port: broker.port,
        tls: undefined,
        vhost: "/",
        username: "u",
        password: Redacted.make("p"),
        heartbeat: 0,
        connectionName: "c",
        ...options
      }, {
        onBlocked() {},
        onUnblocked() {},
        onClose: ({ reason }) => Deferred.doneUnsafe(ended, Effect.succeed(reason))
      }),
      (connection) => Effect.sync(() => connection.destroyUnsafe(closedByTest))
    )
    return { connection, ended, peer: broker.peers[0]! }
  })

const openChannel = (connection: AmqpDriver.DriverConnection, confirm = false) =>
  Effect.gen(function*() {
    const closed = yield* Deferred.make<AmqpError.AmqpErrorReason>()
    const confirms: Array<number> = []
    const channel = yield* connection.openChannel({ confirm }, {
      ...AmqpDriver.noChannelEvents,
      onConfirm: (deliveryTag) => confirms.push(deliveryTag),
      onClose: ({ reason }) => Deferred.doneUnsafe(closed, Effect.succeed(reason))
    })
    return { channel, closed, confirms }
  })

const timedOut = {
  replyCode: 406,
  replyText: "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 3000 ms",
  classId: 0,
  methodId: 0
}

const message: AmqpDriver.WireMessage = {
  exchange: "",
  routingKey: "q",
  mandatory: true,
  properties: {},
  body: new Uint8Array()
}

const namesOf = (peer: ScriptedBroker.Peer) => peer.received.map(({ channel, name }) => `${name} ${channel}`)

describe("a broker that says a thing twice costs nothing", () => {
  it.live("channel.close, in one read", () =>
    Effect.gen(function*() {
      const { connection, ended, peer } = yield* connect()
      const { closed } = yield* openChannel(connection)
      const neighbour = yield* openChannel(connection)
      peer.send(["ChannelClose", 1, timedOut], ["ChannelClose", 1, timedOut], ["ChannelClose", 1, timedOut])
      assert.strictEqual((yield* Deferred.await(closed))._tag, "ChannelClosed")
      yield* neighbour.channel.checkQueue("q")
      assert.isFalse(yield* Deferred.isDone(ended))
      assert.strictEqual(namesOf(peer).filter((name) => name === "ChannelCloseOk 1").length, 1)
    }))

  it.live("channel.close, while another channel is being opened in place of the closed one", () =>
    Effect.gen(function*() {
      const { connection, ended, peer } = yield* connect({
        // The second close was under way when the answer to the first was not.
        on: ({ channel, name }, peer) => {
          if (name === "ChannelOpen" && channel > 1) peer.send(["ChannelClose", 1, timedOut])
          return false
        }
      })
      const { closed } = yield* openChannel(connection)
      peer.send(["ChannelClose", 1, timedOut])
      yield* Deferred.await(closed)
      const next = yield* openChannel(connection)
      yield* next.channel.checkQueue("q")
      assert.isTrue(next.channel.isOpen())
      assert.isFalse(yield* Deferred.isDone(ended))
      assert.include(namesOf(peer), "ChannelOpen 2")
    }))

  it.live("the number of a closed channel is used again after the next opening", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* connect()
      const { closed } = yield* openChannel(connection)
      peer.send(["ChannelClose", 1, timedOut])
      yield* Deferred.await(closed)
      yield* openChannel(connection)
      const third = yield* openChannel(connection)
      yield* third.channel.checkQueue("q")
      assert.deepStrictEqual(
        namesOf(peer).filter((name) => name.startsWith("ChannelOpen")),
        ["ChannelOpen 1", "ChannelOpen 2", "ChannelOpen 1"]
      )
    }))

  it.live("the number of a closed channel is used again at once where no other is left", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* connect({ tune: { channelMax: 1 } })
      const { closed } = yield* openChannel(connection)
      peer.send(["ChannelClose", 1, timedOut])
      yield* Deferred.await(closed)
      const next = yield* openChannel(connection)
      yield* next.channel.checkQueue("q")
      const limit = yield* Effect.flip(connection.openChannel({ confirm: false }, AmqpDriver.noChannelEvents))
      assert.deepInclude(limit.reason, { _tag: "ChannelLimit", of: "connection", channelMax: 1 })
    }))

  it.live("basic.cancel, which its consumer is told once", () =>
    Effect.gen(function*() {
      const { connection, ended, peer } = yield* connect()
      const { channel } = yield* openChannel(connection)
      let cancels = 0
      yield* channel.consume({ queue: "q", consumerTag: "t", noAck: false, exclusive: false, arguments: {} }, {
        onDelivery() {},
        onCancel: () => cancels++
      })
      const cancel = ["BasicCancel", 1, { consumerTag: "t", nowait: true }] as const
      peer.send(cancel, cancel, cancel)
      yield* channel.checkQueue("q")
      assert.strictEqual(cancels, 1)
      assert.isFalse(yield* Deferred.isDone(ended))
    }))

  it.live("basic.cancel for a consumer that was cancelled by the application", () =>
    Effect.gen(function*() {
      const { connection, ended, peer } = yield* connect()
      const { channel } = yield* openChannel(connection)
      let cancels = 0
      yield* channel.consume({ queue: "q", consumerTag: "t", noAck: false, exclusive: false, arguments: {} }, {
        onDelivery() {},
        onCancel: () => cancels++
      })
      yield* channel.cancel("t")
      peer.send(["BasicCancel", 1, { consumerTag: "t", nowait: true }])
      yield* channel.checkQueue("q")
      assert.strictEqual(cancels, 0)
      assert.isFalse(yield* Deferred.isDone(ended))
    }))
})

describe("a broker that breaks the protocol costs its connection, at once", () => {
  it.live("a confirm for a tag that was never sent", () =>
    Effect.gen(function*() {
      for (const deliveryTag of [2, 1e8, Number.MAX_SAFE_INTEGER, 0]) {
        for (const [name, multiple] of [["BasicAck", false], ["BasicAck", true], ["BasicNack", true]] as const) {
          const { connection, ended, peer } = yield* connect()
          const { channel, closed, confirms } = yield* openChannel(connection, true)
          assert.strictEqual(channel.publishUnsafe(message), 1)
          peer.send([name, 1, { deliveryTag, multiple }])
          const before = process.cpuUsage()
          const reason = yield* Deferred.await(ended)
          const { system, user } = process.cpuUsage(before)
          assert.deepInclude(reason, { _tag: "ProtocolFailed" })
          assert.include(reason.message, String(deliveryTag))
          assert.strictEqual((yield* Deferred.await(closed))._tag, "ProtocolFailed")
          assert.deepStrictEqual(confirms, [])
          assert.isBelow(user + system, 1e6)
        }
      }
    }))

  it.live("a frame larger than what was negotiated, by its head alone", () =>
    Effect.gen(function*() {
      for (
        const [frameMax, size] of [[131072, 20 * 1024 * 1024], [131072, 131065], [8192, 8185], [0, 131065]] as const
      ) {
        const { ended, peer } = yield* connect({ tune: { frameMax } })
        peer.write(ScriptedBroker.frame(3, 1, new Uint8Array(), size).subarray(0, 7))
        const reason = yield* Deferred.await(ended)
        assert.strictEqual(reason._tag, "ProtocolFailed")
        assert.include(reason.message, String(size))
      }
    }))

  it.live("a frame of the largest size that was negotiated is read", () =>
    Effect.gen(function*() {
      const { connection, ended, peer } = yield* connect({ tune: { frameMax: 8192 } })
      const { channel } = yield* openChannel(connection)
      const delivered = yield* Deferred.make<number>()
      yield* channel.consume({ queue: "q", consumerTag: "t", noAck: false, exclusive: false, arguments: {} }, {
        onDelivery: ({ body }) => Deferred.doneUnsafe(delivered, Effect.succeed(body.length)),
        onCancel() {}
      })
      peer.write(ScriptedBroker.delivery(1, { consumerTag: "t", deliveryTag: 1 }, {}, Buffer.alloc(8184)))
      assert.strictEqual(yield* Deferred.await(delivered), 8184)
      assert.isFalse(yield* Deferred.isDone(ended))
    }))
})

describe("authentication", () => {
  const startOk = (peer: ScriptedBroker.Peer) => peer.received.find(({ name }) => name === "ConnectionStartOk")!.fields

  it.live("PLAIN by default", () =>
    Effect.gen(function*() {
      const { peer } = yield* connect()
      assert.deepInclude(startOk(peer), { mechanism: "PLAIN", response: Buffer.from("\0u\0p") })
    }))

  it.live("AMQPLAIN where it is asked for", () =>
    Effect.gen(function*() {
      const { peer } = yield* connect({}, { mechanism: "AMQPLAIN" })
      assert.strictEqual(startOk(peer)["mechanism"], "AMQPLAIN")
      assert.include(String(startOk(peer)["response"]), "PASSWORD")
    }))

  it.live("EXTERNAL sends neither user name nor password", () =>
    Effect.gen(function*() {
      const { peer } = yield* connect({ mechanisms: "EXTERNAL" }, { mechanism: "EXTERNAL" })
      assert.deepInclude(startOk(peer), { mechanism: "EXTERNAL", response: Buffer.from("") })
    }))

  it.live("a broker takes a new secret for an open connection", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* connect()
      yield* connection.updateSecret(Redacted.make("new"), "expires soon")
      const update = peer.received.find(({ name }) => name === "ConnectionUpdateSecret")!
      assert.deepInclude(update.fields, { newSecret: Buffer.from("new"), reason: "expires soon" })
    }))

  it.live("a refused secret fails with how the connection ended", () =>
    Effect.gen(function*() {
      const { connection } = yield* connect({
        on: ({ name }, peer) => {
          if (name !== "ConnectionUpdateSecret") return false
          peer.send(["ConnectionClose", 0, {
            replyCode: 530,
            replyText: "NOT_ALLOWED - no",
            classId: 10,
            methodId: 70
          }])
          return true
        }
      })
      const error = yield* Effect.flip(connection.updateSecret(Redacted.make("new"), "expires soon"))
      assert.deepInclude(error.reason, { _tag: "ConnectionLost", replyCode: 530 })
      assert.notInclude(error.message, "new")
      const again = yield* Effect.flip(connection.updateSecret(Redacted.make("new"), "expires soon"))
      assert.deepInclude(again.reason, { _tag: "ConnectionLost", replyCode: 530 })
    }))

  it.live("an update that is not answered ends with the connection, or by interruption", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* connect({ on: ({ name }) => name === "ConnectionUpdateSecret" })
      const update = connection.updateSecret(Redacted.make("new"), "expires soon")
      yield* Fiber.interrupt(yield* Effect.forkChild(update, { startImmediately: true }))
      const second = yield* Effect.forkChild(update, { startImmediately: true })
      peer.socket.destroy()
      assert.isTrue(Exit.isFailure(yield* Fiber.await(second)))
    }))
})
