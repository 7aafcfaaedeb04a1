import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { AmqpContract, AmqpPublisher } from "effect-amqp"
import { paid } from "../support/Publishing.ts"
import * as Spans from "../support/Spans.ts"
import * as Virtual from "../support/Virtual.ts"

/** The span of one publish, which may fail. */
const spanOf = (
  message: Partial<Parameters<AmqpPublisher.AmqpPublisher["publish"]>[0]> = {},
  way: "publish" | "publishAll" = "publish"
) =>
  Effect.gen(function*() {
    const { spans, tracer } = Spans.make()
    const publisher = yield* AmqpPublisher.make({ tracing: true })
    const sent = paid("abc", message)
    const publishing: Effect.Effect<void, unknown> = way === "publish"
      ? publisher.publish(sent)
      : publisher.publishAll([sent])
    yield* Effect.exit(publishing).pipe(Effect.withTracer(tracer))
    yield* Virtual.settle
    const { kind, name, status } = spans[0]!
    return { kind, name, status, attributes: Object.fromEntries(spans[0]!.attributes) }
  }).pipe(Effect.scoped, Effect.provide(Virtual.layer()))

describe("the span of a publish", () => {
  it.effect("is named by its operation and its destination", () =>
    Effect.gen(function*() {
      const span = yield* spanOf()
      assert.strictEqual(span.name, "publish orders:paid")
      assert.strictEqual(span.kind, "producer")
    }))

  const attributes: Record<string, unknown> = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "publish",
    "messaging.operation.type": "send",
    "messaging.destination.name": "orders:paid",
    "messaging.client.id": "effect-amqp",
    "server.address": "localhost",
    "server.port": 5672,
    "messaging.message.id": "m1",
    "messaging.message.body.size": 3,
    "messaging.message.conversation_id": "c1",
    "messaging.rabbitmq.destination.routing_key": "paid"
  }
  for (const [name, expected] of Object.entries(attributes)) {
    for (const way of ["publish", "publishAll"] as const) {
      it.effect(`has the attribute ${name}, by ${way}`, () =>
        Effect.gen(function*() {
          const span = yield* spanOf({ messageId: "m1", correlationId: "c1" }, way)
          assert.strictEqual(span.attributes[name], expected)
        }))
    }
  }

  it.effect("has the id that was made for a message without one", () =>
    Effect.gen(function*() {
      const span = yield* spanOf()
      assert.match(String(span.attributes["messaging.message.id"]), /^\S{12,}$/)
    }))

  it.effect("names the default exchange by the routing key alone, and as amq.default where that is empty", () =>
    Effect.gen(function*() {
      const named = yield* spanOf({ exchange: "", routingKey: "invoices" })
      assert.strictEqual(named.attributes["messaging.destination.name"], "invoices")
      const empty = yield* spanOf({ exchange: "", routingKey: "" })
      assert.strictEqual(empty.attributes["messaging.destination.name"], "amq.default")
    }))

  it.effect("has the tag of the reason as error.type", () =>
    Effect.gen(function*() {
      const unroutable = yield* spanOf({ routingKey: "nobody" })
      assert.strictEqual(unroutable.attributes["error.type"], "Unroutable")
      const invalid = yield* spanOf({ priority: -1 }, "publishAll")
      assert.strictEqual(invalid.attributes["error.type"], "InvalidMessage")
    }))

  it.effect("has no error.type when the message is confirmed", () =>
    Effect.gen(function*() {
      assert.notProperty((yield* spanOf()).attributes, "error.type")
    }))

  it.effect("of a contract is named by the template of its key", () =>
    Effect.gen(function*() {
      const { spans, tracer } = Spans.make()
      const contract = AmqpContract.make("order.paid", {
        payload: Schema.Struct({ id: Schema.String }),
        exchange: Virtual.orders,
        key: "{id}"
      })
      const publisher = yield* AmqpPublisher.make({ tracing: true })
      yield* AmqpContract.publish(contract, { id: "paid" }).pipe(
        Effect.provideService(AmqpPublisher.AmqpPublisher, publisher),
        Effect.withTracer(tracer)
      )
      assert.strictEqual(spans[0]?.name, "publish orders:{id}")
      assert.deepInclude(Object.fromEntries(spans[0]!.attributes), {
        "messaging.destination.template": "orders:{id}",
        "messaging.destination.name": "orders:paid"
      })
    }).pipe(Effect.scoped, Effect.provide(Virtual.layer())))
})
