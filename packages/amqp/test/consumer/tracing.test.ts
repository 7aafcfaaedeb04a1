import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Schema } from "effect"
import { AmqpConsumer, AmqpContract, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, work } from "../support/Consuming.ts"
import * as Spans from "../support/Spans.ts"

const orders = AmqpTopology.exchange("orders", { type: "topic" })
const topology = AmqpTopology.make(orders, work, AmqpTopology.bind(work, orders, "order.#"))

class OutOfStock extends Data.TaggedError("OutOfStock") {}

/** The consumer's span of one message. */
const spanOf = <E>(options: {
  readonly message?: Partial<Parameters<AmqpPublisher.AmqpPublisher["publish"]>[0]>
  readonly handler?: Effect.Effect<void, E>
  readonly consumer?: AmqpConsumer.Options<E>
}) =>
  onMemory(Effect.gen(function*() {
    const { spans, tracer } = Spans.make()
    yield* AmqpTopology.declare(topology)
    yield* AmqpConsumer.make(work, () => options.handler ?? Effect.void, { tracing: true, ...options.consumer }).pipe(
      Effect.withTracer(tracer)
    )
    const publisher = yield* AmqpPublisher.AmqpPublisher
    yield* publisher.publish({ exchange: orders, routingKey: "order.42.paid", body: "abc", ...options.message })
    yield* pass(2000)
    const { kind, links, name, traceId } = spans[0]!
    return { kind, links, name, traceId, attributes: Object.fromEntries(spans[0]!.attributes) }
  }))

describe("the span of a handler", () => {
  it.effect("is named by its operation and its destination", () =>
    Effect.gen(function*() {
      const { kind, name } = yield* spanOf({})
      assert.strictEqual(name, "process orders:order.42.paid:work")
      assert.strictEqual(kind, "consumer")
    }))

  const attributes: Record<string, unknown> = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "orders:order.42.paid:work",
    "messaging.destination.subscription.name": "work",
    "messaging.client.id": "effect-amqp",
    "server.address": "localhost",
    "server.port": 5672,
    "messaging.message.id": "m1",
    "messaging.message.body.size": 3,
    "messaging.message.conversation_id": "c1",
    "messaging.rabbitmq.destination.routing_key": "order.42.paid",
    "messaging.rabbitmq.message.delivery_tag": 1
  }
  for (const [name, expected] of Object.entries(attributes)) {
    it.effect(`has the attribute ${name}`, () =>
      Effect.gen(function*() {
        const span = yield* spanOf({ message: { messageId: "m1", correlationId: "c1" } })
        assert.strictEqual(span.attributes[name], expected)
      }))
  }

  it.effect("says equal parts of a destination once", () =>
    Effect.gen(function*() {
      const span = yield* spanOf({ message: { exchange: "", routingKey: "work" } })
      assert.strictEqual(span.attributes["messaging.destination.name"], "work")
    }))

  it.effect("has the tag of the handler's error as error.type", () =>
    Effect.gen(function*() {
      const span = yield* spanOf({ handler: Effect.fail(new OutOfStock()) })
      assert.strictEqual(span.attributes["error.type"], "OutOfStock")
    }))

  it.effect("has HandlerTimeout as error.type when the handler was not done in time", () =>
    Effect.gen(function*() {
      const span = yield* spanOf({ handler: Effect.never, consumer: { handlerTimeout: "1 second" } })
      assert.strictEqual(span.attributes["error.type"], "HandlerTimeout")
    }))

  it.effect("has _OTHER as error.type for an error without a tag and for a defect", () =>
    Effect.gen(function*() {
      const untagged = yield* spanOf({ handler: Effect.fail("no") })
      const defect = yield* spanOf({ handler: Effect.die(new Error("no")) })
      assert.deepStrictEqual([untagged.attributes["error.type"], defect.attributes["error.type"]], ["_OTHER", "_OTHER"])
    }))

  it.effect("has no error.type when the handler succeeds", () =>
    Effect.gen(function*() {
      assert.notProperty((yield* spanOf({})).attributes, "error.type")
    }))

  const traceId = "0af7651916cd43dd8448eb211c80319c"
  const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` }

  it.effect("begins a trace of its own with a link by default", () =>
    Effect.gen(function*() {
      for (const tracing of [true, "link"] as const) {
        const span = yield* spanOf({ message: { headers }, consumer: { tracing } })
        assert.notStrictEqual(span.traceId, traceId)
        assert.strictEqual(span.links[0]?.span.traceId, traceId)
      }
    }))

  it.effect("goes on with the publisher's trace where it is asked to be a child", () =>
    Effect.gen(function*() {
      const span = yield* spanOf({ message: { headers }, consumer: { tracing: "parent" } })
      assert.strictEqual(span.traceId, traceId)
      assert.deepStrictEqual(span.links, [])
    }))

  it.effect("begins a trace where it is asked to be a child of a message without one", () =>
    Effect.gen(function*() {
      const span = yield* spanOf({ consumer: { tracing: "parent" } })
      assert.notStrictEqual(span.traceId, traceId)
    }))

  it.effect("of a server-named queue says that the destination is anonymous and temporary", () =>
    onMemory(Effect.gen(function*() {
      const { spans, tracer } = Spans.make()
      const news = AmqpTopology.serverNamedQueue("news")
      yield* AmqpTopology.declare(AmqpTopology.make(orders, news, AmqpTopology.bind(news, orders, "#")))
      yield* AmqpConsumer.make(news, () => Effect.void, { tracing: true }).pipe(Effect.withTracer(tracer))
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publish({ exchange: orders, routingKey: "a", body: "abc" })
      yield* settled
      const attributes = Object.fromEntries(spans[0]!.attributes)
      assert.deepInclude(attributes, {
        "messaging.destination.anonymous": true,
        "messaging.destination.temporary": true
      })
    })))

  it.effect("of a contract is named by the template of its key", () =>
    onMemory(Effect.gen(function*() {
      const { spans, tracer } = Spans.make()
      const contract = AmqpContract.make("order.paid", {
        payload: Schema.Struct({ id: Schema.Int }),
        exchange: orders,
        key: "order.{id}.paid"
      })
      yield* AmqpTopology.declare(topology)
      yield* AmqpContract.makeConsumer(work, [contract], { "order.paid": () => Effect.void }, { tracing: true }).pipe(
        Effect.withTracer(tracer)
      )
      yield* AmqpContract.publish(contract, { id: 42 })
      yield* settled
      assert.strictEqual(spans[0]?.name, "process orders:order.{id}.paid:work")
      assert.deepInclude(Object.fromEntries(spans[0]!.attributes), {
        "messaging.destination.template": "orders:order.{id}.paid:work",
        "messaging.destination.name": "orders:order.42.paid:work"
      })
    })))
})
