import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Redacted } from "effect"
import {
  AmqpConnection,
  AmqpConsumer,
  AmqpContract,
  AmqpDriver,
  AmqpError,
  AmqplibDriver,
  AmqpMessage
} from "effect-amqp"
import * as Patience from "effect-amqp-test-rig/Patience"
import { encode, type Encoded } from "../../src/internal/wire/encodeMessage.ts"
import { bodyFrame, entry, headerFrame, long, nested, sized } from "../support/ForeignFrames.ts"
import * as ScriptedBroker from "../support/ScriptedBroker.ts"
import * as Shop from "../support/Shop.ts"

const closedByTest = new AmqpError.AmqpError({ operation: "test", reason: new AmqpError.ConnectionClosed() })

/** A broker that delivers one message to each consumer that comes. */
const delivering = (entries: Buffer, body: string, type?: string) =>
  ScriptedBroker.make({
    on({ channel, fields, name }, peer) {
      if (name !== "BasicConsume") return
      const { consumerTag } = fields
      peer.write(Buffer.concat([
        ScriptedBroker.method("BasicConsumeOk", channel, { consumerTag }),
        ScriptedBroker.method("BasicDeliver", channel, {
          consumerTag,
          deliveryTag: 1,
          redelivered: false,
          exchange: "",
          routingKey: "q"
        }),
        headerFrame(1, entries, body.length, type),
        bodyFrame(1, body)
      ]))
      return true
    }
  })

/** Waits until a method has come, and returns what came of it in all. */
const received = ({ peers }: ScriptedBroker.ScriptedBroker, name: string) =>
  Effect.gen(function*() {
    const all = () => peers.flatMap((peer) => peer.received.filter((method) => method.name === name))
    yield* Patience.until(`the client has sent ${name}`, Effect.sync(() => all().length > 0))
    return all().map(({ fields }) => fields)
  })

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
      headerFrame(1, entries, 4),
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

  it.live("a message with headers that cannot be read is handled and acknowledged, and costs no connection", () =>
    Effect.gen(function*() {
      const broker = yield* delivering(entry("odd", Buffer.from("?12")), "body")
      const seen: Array<string> = []
      // Of a queue by name, the headers may tell that it is a stream.
      yield* AmqpConsumer.run("q", (delivery) => Effect.map(delivery.text, (text) => seen.push(text))).pipe(
        Effect.provide(AmqpConnection.layer({ endpoints: `amqp://${broker.host}:${broker.port}` })),
        Effect.forkScoped
      )
      assert.deepStrictEqual(yield* received(broker, "BasicAck"), [{ deliveryTag: 1, multiple: false }])
      assert.deepStrictEqual(seen, ["body"])
      assert.strictEqual((yield* received(broker, "ConnectionOpen")).length, 1)
    }))

  it.live("a message of a contract with a header that cannot be read is handled by its contract", () =>
    Effect.gen(function*() {
      const version = entry("x-schema-version", Buffer.from("b\u0002"))
      const broker = yield* delivering(
        Buffer.concat([version, entry("odd", Buffer.from("?12"))]),
        `{"id":7,"cents":5,"at":"1970-01-01T00:00:00.005Z"}`,
        "order.paid"
      )
      const seen: Array<number> = []
      yield* AmqpContract.run("q", [Shop.OrderPaid], {
        "order.paid": ({ id }) => Effect.sync(() => void seen.push(id))
      }).pipe(
        Effect.provide(AmqpConnection.layer({ endpoints: `amqp://${broker.host}:${broker.port}` })),
        Effect.forkScoped
      )
      assert.deepStrictEqual(yield* received(broker, "BasicAck"), [{ deliveryTag: 1, multiple: false }])
      assert.deepStrictEqual(seen, [7])
    }))
})
