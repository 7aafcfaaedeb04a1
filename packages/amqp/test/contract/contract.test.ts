import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Schedule, Schema } from "effect"
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpContract,
  AmqpPublisher,
  AmqpTopology,
  Codec
} from "effect-amqp"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { gzipSync } from "node:zlib"
import * as Shop from "../support/Shop.ts"

const client = Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
  Layer.provideMerge(AmqpTopology.layer(Shop.topology)),
  Layer.provideMerge(AmqpConnection.layer()),
  Layer.provideMerge(AmqpMemory.layer)
)

const onMemory = <A, E, R>(test: Effect.Effect<A, E, R>) => test.pipe(Effect.scoped, Effect.provide(client))

const take = (queue: AmqpTopology.Queue) =>
  Effect.gen(function*() {
    const channel = yield* AmqpChannel.AmqpChannel
    const delivery = Option.getOrThrow(yield* channel.get(queue))
    yield* delivery.ack()
    return delivery
  })

const send = (message: Parameters<AmqpPublisher.AmqpPublisher["publish"]>[0]) =>
  Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) => publisher.publish(message))

const depth = (queue: string) => Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.depth(queue))

const paid = { id: 42, cents: 1250, at: new Date(5) }

describe("AmqpContract", () => {
  describe("on the wire", () => {
    it.effect("a message is plain JSON with the type, the content type and the version as properties", () =>
      onMemory(Effect.gen(function*() {
        yield* AmqpContract.publish(Shop.OrderPaid, paid, { appId: "shop", headers: { tenant: "a" } })
        const delivery = yield* take(Shop.invoices)
        assert.strictEqual(yield* delivery.text, `{"id":42,"cents":1250,"at":"1970-01-01T00:00:00.005Z"}`)
        assert.deepInclude(delivery.properties, {
          type: "order.paid",
          contentType: "application/json",
          appId: "shop"
        })
        assert.deepStrictEqual({ ...delivery.headers }, { tenant: "a", "x-schema-version": 2 })
        assert.strictEqual(delivery.routingKey, "order.42.paid")
        assert.strictEqual(delivery.exchange, "orders")
      })))

    it.effect("a message of any client is handled if its properties say what it is", () =>
      onMemory(Effect.gen(function*() {
        const handled: Array<string> = []
        yield* Shop.worker(handled)
        yield* send({
          exchange: "orders",
          routingKey: "order.7.paid",
          type: "order.paid",
          headers: { "x-schema-version": 2 },
          body: { id: 7, cents: 1, at: "1970-01-01T00:00:00.001Z" }
        })
        yield* settled
        assert.deepStrictEqual(handled, ["paid 7 1 1"])
      })))

    it.effect("a message without a version has version 1", () =>
      onMemory(Effect.gen(function*() {
        const handled: Array<string> = []
        yield* Shop.worker(handled)
        yield* send({
          exchange: "orders",
          routingKey: "order.7.paid",
          type: "order.paid",
          body: { id: 7, amount: 1.5 }
        })
        yield* settled
        assert.deepStrictEqual(handled, ["paid 7 150 0"])
      })))
  })

  describe("the routing key", () => {
    for (const id of ["", "a.b", "a*", "#"]) {
      it.effect(`a field that is "${id}" is refused before the wire`, () =>
        onMemory(Effect.gen(function*() {
          const error = yield* Effect.flip(AmqpContract.publish(Shop.OrderCancelled, { id, why: "late" }))
          assert.deepInclude(error.reason, { _tag: "InvalidMessage", field: "routingKey", published: "no" })
          assert.match(error.message, /"id".*"order\.\{id\}\.cancelled"/)
          assert.strictEqual(yield* depth("invoices"), 0)
        })))
    }

    it.effect("a field that makes the key longer than 255 bytes is refused before the wire", () =>
      onMemory(Effect.gen(function*() {
        const error = yield* Effect.flip(
          AmqpContract.publish(Shop.OrderCancelled, { id: "é".repeat(120), why: "late" })
        )
        assert.deepInclude(error.reason, { _tag: "InvalidMessage", field: "routingKey" })
        assert.match(error.message, /256 bytes/)
      })))

    it.effect("a field that is no finite number is refused before the wire", () =>
      onMemory(Effect.gen(function*() {
        const error = yield* Effect.flip(AmqpContract.publish(Shop.OrderPaid, { ...paid, id: NaN }))
        assert.deepInclude(error.reason, { _tag: "InvalidMessage", field: "routingKey" })
      })))
  })

  it.effect("a payload that is none at all fails as InvalidMessage", () =>
    onMemory(Effect.gen(function*() {
      for (const nothing of [null, undefined]) {
        const error = yield* Effect.flip(AmqpContract.publish(Shop.OrderPaid, nothing as never))
        assert.deepInclude(error.reason, { _tag: "InvalidMessage", field: "routingKey", published: "no" })
      }
    })))

  it.effect("a payload that the schema refuses fails as EncodeError and publishes nothing", () =>
    onMemory(Effect.gen(function*() {
      const error = yield* Effect.flip(AmqpContract.publish(Shop.OrderPaid, { ...paid, cents: 1.5 }))
      assert.deepInclude(error.reason, { _tag: "EncodeError", published: "no" })
      assert.match(error.message, /order\.paid/)
      assert.strictEqual(yield* depth("invoices"), 0)
    })))

  it.effect("messages of a contract go through publishAll", () =>
    onMemory(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const messages = yield* Effect.forEach([1, 2, 3], (id) => AmqpContract.message(Shop.OrderPaid, { ...paid, id }))
      yield* publisher.publishAll(messages)
      assert.strictEqual(yield* depth("invoices"), 3)
    })))

  describe("a message that cannot be handled", () => {
    const failures = (message: Parameters<typeof send>[0]) =>
      onMemory(Effect.gen(function*() {
        const errors: Array<AmqpContract.UnknownMessage | AmqpDelivery.DecodeError> = []
        yield* AmqpContract.makeConsumer(
          Shop.invoices,
          [Shop.OrderPaid],
          { "order.paid": () => Effect.void },
          {
            onFailure(error) {
              if (error._tag !== "HandlerTimeout") errors.push(error)
              return "deadLetter"
            }
          }
        )
        yield* send({ ...message, exchange: "orders" })
        yield* settled
        assert.strictEqual(yield* depth("rejected"), 1)
        return errors[0]!
      }))

    it.effect("of an unknown type is an UnknownMessage that names the types", () =>
      Effect.gen(function*() {
        const error = yield* failures({ routingKey: "order.1.paid", type: "order.lost", messageId: "m1", body: {} })
        assert.deepInclude(error, { _tag: "UnknownMessage", type: "order.lost", queue: "invoices", messageId: "m1" })
        assert.match(error.message, /m1.*"invoices".*"order\.lost".*order\.paid/)
      }))

    it.effect("without a type is an UnknownMessage", () =>
      Effect.gen(function*() {
        const error = yield* failures({ routingKey: "order.1.paid", body: {} })
        assert.deepInclude(error, { _tag: "UnknownMessage", type: undefined })
      }))

    it.effect("of an unknown version is an UnknownMessage that names the versions", () =>
      Effect.gen(function*() {
        const error = yield* failures({
          routingKey: "order.1.paid",
          type: "order.paid",
          headers: { "x-schema-version": 3 },
          body: {}
        })
        assert.deepInclude(error, { _tag: "UnknownMessage", version: 3 })
        assert.match(error.message, /version 3.*1, 2/)
      }))

    it.effect("that the schema refuses is a DecodeError with queue, id, type, version and the schema's text", () =>
      Effect.gen(function*() {
        const error = yield* failures({
          routingKey: "order.1.paid",
          type: "order.paid",
          messageId: "m1",
          body: { id: 1 }
        })
        assert.deepInclude(error, { _tag: "DecodeError", queue: "invoices", messageId: "m1", type: "order.paid" })
        assert.match(error.message, /m1.*"invoices".*"order\.paid".*Missing key/s)
      }))

    it.effect("is dead-lettered at once where failed handlers are tried again", () =>
      onMemory(Effect.gen(function*() {
        let tries = 0
        yield* AmqpContract.makeConsumer(
          Shop.invoices,
          [Shop.OrderPaid],
          { "order.paid": () => Effect.suspend(() => ++tries === 1 ? Effect.fail("busy") : Effect.void) },
          { onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("1 second"), { times: 3 })) }
        )
        yield* send({ exchange: "orders", routingKey: "order.1.paid", type: "order.lost", body: {} })
        yield* send({ exchange: "orders", routingKey: "order.1.paid", type: "order.paid", body: "no" })
        yield* AmqpContract.publish(Shop.OrderPaid, paid)
        yield* pass(3000)
        assert.strictEqual(yield* depth("rejected"), 2)
        assert.strictEqual(tries, 2)
      })))
  })

  it.effect("services of version 1 and 2 share a queue in either order of deployment and lose nothing", () =>
    onMemory(Effect.gen(function*() {
      for (const [first, second] of [[Shop.worker, Shop.workerV1], [Shop.workerV1, Shop.worker]] as const) {
        const handled: Array<string> = []
        const publishBoth = Effect.gen(function*() {
          yield* AmqpContract.publish(Shop.OrderPaid, paid)
          yield* AmqpContract.publish(Shop.OrderPaidV1, { id: 43, amount: 2 })
        })
        yield* Effect.scoped(Effect.gen(function*() {
          yield* first(handled)
          yield* publishBoth
          yield* settled
          yield* second(handled)
          for (let i = 0; i < 10; i++) yield* publishBoth
          yield* settled
        }))
        assert.strictEqual(handled.length, 22)
        assert.strictEqual(yield* depth("rejected"), 0)
      }
    })))

  it.effect("two contracts with the same type are refused when the consumer is made", () =>
    onMemory(Effect.gen(function*() {
      const error = yield* Effect.flip(
        AmqpContract.makeConsumer(Shop.invoices, [Shop.OrderPaid, Shop.OrderPaidV1], {
          "order.paid": () => Effect.void
        })
      )
      assert.deepInclude(error.reason, { _tag: "InvalidConfiguration", option: "contracts" })
      assert.match(error.message, /two contracts.*"order\.paid"/)
    })))

  it.effect("a contract that says nonsense fails each use of it with the sentence that says so", () =>
    onMemory(Effect.gen(function*() {
      const payload = Schema.Struct({ id: Schema.String })
      const wrong = [
        [AmqpContract.make("", { payload, exchange: Shop.orders, key: "a" }), /1 to 255 bytes/],
        [AmqpContract.make("a", { payload, exchange: Shop.orders, key: "a", version: 0 }), /version of "a" is 0/],
        [AmqpContract.make("a", { payload, exchange: Shop.orders, key: "a", accepts: { 1: payload } }), /its own/],
        [AmqpContract.make("a", { payload, exchange: Shop.orders, key: "a.{id" }), /brace that is not closed/],
        [AmqpContract.make("a", { payload, exchange: Shop.orders, key: "a-{id}" }), /a word of its own/]
      ] as const
      for (const [contract, text] of wrong) {
        const publishing = yield* Effect.flip(AmqpContract.publish(contract, { id: "1" }))
        assert.strictEqual(publishing.reason._tag, "InvalidMessage")
        assert.match(publishing.message, text)
        const consuming = yield* Effect.flip(
          AmqpContract.makeConsumer(Shop.invoices, [contract], { a: () => Effect.void, "": () => Effect.void } as never)
        )
        assert.match(consuming.message, text)
      }
    })))

  describe("topology", () => {
    it("binds each field of a key as one word", () => {
      const { bindings, exchanges, queues } = AmqpContract.topology(Shop.invoices, [
        Shop.OrderPaid,
        Shop.OrderCancelled
      ])
      assert.deepStrictEqual(bindings.map(({ routingKey }) => routingKey), ["order.*.paid", "order.*.cancelled"])
      assert.deepStrictEqual(new Set(exchanges), new Set([Shop.orders]))
      assert.deepStrictEqual(queues, [Shop.invoices])
    })

    it("refuses a template that a direct exchange could not match", () => {
      const direct = AmqpTopology.exchange("direct", { type: "direct" })
      const contract = AmqpContract.make("a", {
        payload: Schema.Struct({ id: Schema.String }),
        exchange: direct,
        key: "a.{id}"
      })
      assert.throws(() => AmqpContract.topology(Shop.invoices, [contract]), /direct exchange.*"a\.\{id\}"/)
    })
  })

  describe("bodies", () => {
    const Note = Schema.Struct({ text: Schema.String })
    const publishAs = (message: Partial<Parameters<typeof send>[0]>, body: string | Uint8Array) =>
      Effect.gen(function*() {
        yield* send({ routingKey: "invoices", ...message, body })
        return yield* take(Shop.invoices)
      })

    it.effect("a codec without a contract serves both ends", () =>
      onMemory(Effect.gen(function*() {
        for (
          const codec of [
            Codec.json,
            Codec.schemaBinary,
            Codec.cloudEvents({ source: "/a" }),
            Codec.gzip(Codec.json, { above: 1 })
          ]
        ) {
          const encoded = yield* Codec.encode(codec, Note, { text: "hello" }, { type: "note" })
          yield* send({ routingKey: "invoices", ...encoded })
          assert.deepStrictEqual(yield* (yield* take(Shop.invoices)).decode(codec, Note), { text: "hello" })
        }
      })))

    it.effect("a cloud event without a type fails as EncodeError", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Codec.encode(Codec.cloudEvents({ source: "/a" }), Note, { text: "hello" }))
        assert.strictEqual(error.reason._tag, "EncodeError")
        assert.match(error.message, /needs a type/)
      }))

    it.live("a compressed body of another client is read", () =>
      onMemory(Effect.gen(function*() {
        const delivery = yield* publishAs({ contentEncoding: "gzip" }, gzipSync(`{"text":"hello"}`))
        assert.deepStrictEqual(yield* delivery.json(Note), { text: "hello" })
        assert.strictEqual(yield* delivery.text, `{"text":"hello"}`)
      })))

    it.live("a body that is not the gzip that it says it is fails as DecodeError", () =>
      onMemory(Effect.gen(function*() {
        const delivery = yield* publishAs({ contentEncoding: "gzip" }, "hello")
        assert.match((yield* Effect.flip(delivery.json(Note))).message, /content-encoding is gzip/)
      })))

    it.live("a body is not decompressed beyond 64 MiB", () =>
      onMemory(Effect.gen(function*() {
        const delivery = yield* publishAs({ contentEncoding: "gzip" }, gzipSync(Buffer.alloc(65 * 1024 * 1024)))
        assert.match((yield* Effect.flip(delivery.text)).message, /larger than 67108864 bytes/)
      })))

    it.effect("an encoding that is not read is named", () =>
      onMemory(Effect.gen(function*() {
        const delivery = yield* publishAs({ contentEncoding: "br" }, "hello")
        assert.match((yield* Effect.flip(delivery.json(Note))).message, /"br".*only gzip/)
      })))

    it.effect("a charset other than UTF-8 is named", () =>
      onMemory(Effect.gen(function*() {
        const delivery = yield* publishAs({ contentType: "text/plain; charset=ISO-8859-1" }, "hello")
        assert.match((yield* Effect.flip(delivery.text)).message, /"ISO-8859-1".*only UTF-8/)
        const plain = yield* publishAs({ contentType: "application/json; charset=utf-8" }, `{"text":"é"}`)
        assert.deepStrictEqual(yield* plain.json(Note), { text: "é" })
      })))

    it.effect("a cloud event names its source, the type and the message's id", () =>
      onMemory(Effect.gen(function*() {
        const contract = AmqpContract.make("note", {
          payload: Note,
          exchange: Shop.orders,
          key: "order.note.paid",
          codec: Codec.cloudEvents({ source: "/notes" })
        })
        yield* AmqpContract.publish(contract, { text: "a" }, { messageId: "m1" })
        yield* AmqpContract.publish(contract, { text: "b" })
        const [first, second] = [yield* take(Shop.invoices), yield* take(Shop.invoices)]
        assert.deepStrictEqual(JSON.parse(yield* first.text), {
          specversion: "1.0",
          id: "m1",
          source: "/notes",
          type: "note",
          time: "1970-01-01T00:00:00.000Z",
          datacontenttype: "application/json",
          data: { text: "a" }
        })
        assert.strictEqual(first.properties.contentType, "application/cloudevents+json")
        assert.strictEqual(JSON.parse(yield* second.text).id, second.messageId)
      })))
  })

  it.effect("layer consumes until it is released", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<number> = []
      const Worker = AmqpContract.layer(Shop.invoices, [Shop.OrderPaid], {
        "order.paid": ({ id }) => Effect.sync(() => handled.push(id))
      })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(Worker)
        yield* AmqpContract.publish(Shop.OrderPaid, paid)
        yield* settled
      }))
      yield* AmqpContract.publish(Shop.OrderPaid, paid)
      yield* settled
      assert.deepStrictEqual(handled, [42])
      assert.strictEqual(yield* depth("invoices"), 1)
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(take(Shop.invoices))))
    })))
})
