import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Redacted } from "effect"
import { AmqpDriver, AmqpError, AmqplibDriver, AmqpMessage } from "effect-amqp"
import { encode, type Encoded } from "../../src/internal/wire/encodeMessage.ts"
import * as ScriptedBroker from "../support/ScriptedBroker.ts"

const closedByTest = new AmqpError.AmqpError({ operation: "test", reason: new AmqpError.ConnectionClosed() })

const long = (tag: string, value: bigint): Buffer => {
  const bytes = Buffer.alloc(9)
  bytes.write(tag)
  bytes.writeBigInt64BE(value, 1)
  return bytes
}

const sized = (tag: string, value: Buffer): Buffer => {
  const size = Buffer.alloc(5)
  size.write(tag)
  size.writeUInt32BE(value.length, 1)
  return Buffer.concat([size, value])
}

const entry = (key: string, value: Buffer): Buffer =>
  Buffer.concat([Buffer.from([key.length]), Buffer.from(key), value])

const nested = (levels: number): Buffer => {
  let value: Buffer = sized("F", entry("n", Buffer.from("t\u0001")))
  for (let level = 1; level < levels; level++) value = sized("F", entry("n", value))
  return value
}

/** A header frame with these entries as headers and nothing else. */
const headerFrame = (entries: Buffer, size: number): Buffer => {
  const payload = Buffer.alloc(14 + 4)
  payload.writeUInt16BE(60, 0)
  payload.writeUInt32BE(size, 8)
  payload.writeUInt16BE(0x2000, 12)
  payload.writeUInt32BE(entries.length, 14)
  return ScriptedBroker.frame(2, 1, Buffer.concat([payload, entries]))
}

/** Delivers a message with these headers, sends it on with one more, and returns what the broker got of it. */
const passOn = (entries: Buffer) =>
  Effect.gen(function*() {
    const broker = yield* ScriptedBroker.make()
    const ended = yield* Deferred.make<never, AmqpError.AmqpError>()
    const connection = yield* Effect.acquireRelease(
      AmqplibDriver.driver.connect({
        host: broker.host,
        port: broker.port,
        tls: undefined,
        vhost: "/",
        username: "u",
        password: Redacted.make("p"),
        heartbeat: 0,
        connectionName: "c"
      }, { onBlocked() {}, onUnblocked() {}, onClose: (error) => Deferred.doneUnsafe(ended, Effect.fail(error)) }),
      (connection) => Effect.sync(() => connection.destroyUnsafe(closedByTest))
    )
    const peer = broker.peers[0]!
    const received: Array<Buffer> = []
    peer.socket.on("data", (bytes) => received.push(bytes))
    const channel = yield* connection.openChannel({ confirm: false }, AmqpDriver.noChannelEvents)
    const delivered = yield* Deferred.make<AmqpDriver.DriverDelivery, AmqpError.AmqpError>()
    yield* channel.consume({ queue: "q", consumerTag: "t", noAck: false, exclusive: false, arguments: {} }, {
      onDelivery: (delivery) => Deferred.doneUnsafe(delivered, Effect.succeed(delivery)),
      onCancel() {}
    })
    peer.write(Buffer.concat([
      ScriptedBroker.method("BasicDeliver", 1, {
        consumerTag: "t",
        deliveryTag: 1,
        redelivered: false,
        exchange: "",
        routingKey: "q"
      }),
      headerFrame(entries, 4),
      ScriptedBroker.frame(3, 1, Buffer.from("body"))
    ]))
    const delivery = yield* Effect.raceFirst(Deferred.await(delivered), Deferred.await(ended))
    const copy = encode(AmqpMessage.forward(delivery, { routingKey: "wait", headers: { attempt: 2 } }), () => "id")
    channel.publishUnsafe(copy as Encoded)
    yield* channel.checkQueue("q")
    return { delivery, sent: Buffer.concat(received) }
  })

describe("headers of another client, through the default driver", () => {
  it.live("an integer of type L, as py-amqp writes it, is the number that it is", () =>
    Effect.gen(function*() {
      const { delivery } = yield* passOn(entry("n", long("L", 1764119000000n)))
      assert.deepStrictEqual({ ...delivery.properties.headers }, { n: 1764119000000 })
      assert.strictEqual(Buffer.from(delivery.body).toString(), "body")
    }))

  it.live.each<readonly [string, Buffer]>([
    ["an integer of type L", entry("n", long("L", 1764119000000n))],
    ["an integer beyond 2^53", entry("n", long("l", 2n ** 62n + 1n))],
    ["a time before 1970", entry("at", long("T", -1000n))],
    ["a time in microseconds", entry("at", long("T", 1764119000000000n))],
    ["the nested key !", entry("table", sized("F", entry("!", sized("S", Buffer.from("timestamp")))))],
    ["40 levels", entry("deep", nested(40))],
    ["text that is not UTF-8", entry("text", sized("S", Buffer.from([0xff, 0xfe])))],
    ["65,400 bytes", entry("big", sized("S", Buffer.alloc(65_390, "x")))],
    ["a type that nobody knows", entry("odd", Buffer.from("?12"))]
  ])("a message with %s is sent on byte by byte, with a header added", ([, entries]) =>
    Effect.gen(function*() {
      const { sent } = yield* passOn(entries)
      const added = entry("attempt", Buffer.from("b\u0002"))
      assert.isTrue(sent.includes(Buffer.concat([added, entries])))
    }))

  it.live("a table that cannot be read costs the headers, and says so when they are read", () =>
    Effect.gen(function*() {
      const { delivery } = yield* passOn(entry("odd", Buffer.from("?12")))
      assert.throws(() => delivery.properties.headers, /the headers cannot be read: "\?" is no type of a field/)
    }))
})
