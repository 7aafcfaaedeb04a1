import { assert, it } from "@effect/vitest"
import amqplib from "amqplib"
import { Effect, Layer, Queue, Stream } from "effect"
import { AmqpConnection, AmqpContract, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import * as Shop from "../support/Shop.ts"

const onShared = <A, E, R>(test: (url: string) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(SharedRabbitMq.make, ({ url }) =>
    test(url).pipe(
      Effect.scoped,
      Effect.provide(
        AmqpPublisher.layer({ confirmTimeout: "30 seconds" }).pipe(
          Layer.provideMerge(AmqpTopology.layer(Shop.topology)),
          Layer.provideMerge(AmqpConnection.layer({ endpoints: url }))
        )
      )
    ))

/** A channel of amqplib without anything of the library around it. */
const rawChannel = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(() => amqplib.connect(url)),
    (connection) => Effect.promise(() => connection.close())
  ).pipe(Effect.flatMap((connection) => Effect.promise(() => connection.createConfirmChannel())))

const paid = { id: 42, cents: 1250, at: new Date(5) }

/** Handlers that tell what they got, and a way to wait for so many of them. */
const telling = Effect.map(Queue.unbounded<string>(), (told) => ({
  tell: (line: string) => Queue.offer(told, line),
  next: (count: number) => Stream.runCollect(Stream.take(Stream.fromQueue(told), count))
}))

describeWithSharedBroker("AmqpContract, before RabbitMQ", () => {
  it.live("raw amqplib reads plain JSON with the documented properties", () =>
    onShared((url) =>
      Effect.gen(function*() {
        const channel = yield* rawChannel(url)
        yield* AmqpContract.publish(Shop.OrderPaid, paid)
        const message = yield* Effect.promise(() => channel.get("invoices", { noAck: true }))
        if (message === false) return assert.fail("the message is not in its queue")
        assert.deepStrictEqual(JSON.parse(message.content.toString()), {
          id: 42,
          cents: 1250,
          at: "1970-01-01T00:00:00.005Z"
        })
        assert.strictEqual(message.properties.type, "order.paid")
        assert.strictEqual(message.properties.contentType, "application/json")
        assert.strictEqual(message.properties.headers?.["x-schema-version"], 2)
        assert.strictEqual(message.fields.routingKey, "order.42.paid")
      })
    ))

  it.live("a message of raw amqplib is handled by its type and version", () =>
    onShared((url) =>
      Effect.gen(function*() {
        const channel = yield* rawChannel(url)
        const { next, tell } = yield* telling
        yield* AmqpContract.makeConsumer(Shop.invoices, [Shop.OrderPaid, Shop.OrderCancelled], {
          "order.paid": ({ at, cents, id }) => tell(`paid ${id} ${cents} ${at.getTime()}`),
          "order.cancelled": ({ why }) => tell(why)
        })
        const send = (body: unknown, headers: object, type = "order.paid") =>
          channel.publish("orders", "order.1.paid", Buffer.from(JSON.stringify(body)), { type, headers })
        send({ id: 1, amount: 1.5 }, {})
        send({ id: 2, cents: 3, at: "1970-01-01T00:00:00.007Z" }, { "x-schema-version": 2 })
        send({ id: "3", why: "late" }, { "x-schema-version": 1 }, "order.cancelled")
        assert.deepStrictEqual(yield* next(3), ["paid 1 150 0", "paid 2 3 7", "late"])
      })
    ))

  it.live("services of version 1 and 2 share a queue in either order of deployment and lose nothing", () =>
    onShared(() =>
      Effect.gen(function*() {
        const { next, tell } = yield* telling
        const v1 = AmqpContract.makeConsumer(Shop.invoices, [Shop.OrderPaidV1], {
          "order.paid": ({ id }) => tell(`${id}`)
        })
        const v2 = AmqpContract.makeConsumer(Shop.invoices, [Shop.OrderPaid], {
          "order.paid": ({ id }) => tell(`${id}`)
        })
        for (const [first, second] of [[v1, v2], [v2, v1]] as const) {
          const ids = yield* Effect.scoped(Effect.gen(function*() {
            yield* first
            const publish = (id: number) =>
              Effect.andThen(
                AmqpContract.publish(Shop.OrderPaid, { ...paid, id }),
                AmqpContract.publish(Shop.OrderPaidV1, { id: id + 1, amount: 1 })
              )
            for (let id = 0; id < 20; id += 2) yield* publish(id)
            yield* second
            for (let id = 20; id < 40; id += 2) yield* publish(id)
            return yield* next(40)
          }))
          assert.deepStrictEqual(new Set(ids), new Set(Array.from({ length: 40 }, (_, id) => String(id))))
        }
      })
    ))
})
