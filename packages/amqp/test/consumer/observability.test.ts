import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AmqpConsumer, AmqpPublisher } from "effect-amqp"
import type { AmqpMessage } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { logging, metric, onMemory, send, sendWith, withOwnMetrics, work } from "../support/Consuming.ts"
import * as Spans from "../support/Spans.ts"

describe("what an AmqpConsumer shows", () => {
  it.effect("a handler logs with the queue, the delivery tag and the message id", () => {
    const lines: Parameters<typeof logging>[0] = []
    return onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, () => Effect.log("hello")).pipe(Effect.annotateLogs({ service: "invoices" }))
      yield* sendWith({ messageId: "m-1" }, "a")
      const hello = lines.find(({ message }) => message === "hello")
      assert.deepInclude(hello?.annotations, { service: "invoices", queue: "work", deliveryTag: 1, messageId: "m-1" })
    })).pipe(Effect.provide(logging(lines)))
  })

  const spansOf = (options: AmqpConsumer.Options<never>, headers: AmqpMessage.Headers) => {
    const { spans, tracer } = Spans.make()
    return onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, () => Effect.void, options).pipe(Effect.withTracer(tracer))
      yield* sendWith({ messageId: "m-1", headers }, "a")
      return spans
    }))
  }
  const traceId = "0af7651916cd43dd8448eb211c80319c"
  const traceparent = `00-${traceId}-b7ad6b7169203331-01`

  it.effect("with tracing, a handler has a consumer span that is linked to the publisher's", () =>
    Effect.gen(function*() {
      const spans = yield* spansOf({ tracing: true }, { traceparent })
      assert.strictEqual(spans.length, 1)
      const span = spans[0]!
      assert.deepInclude(span, { name: "process work", kind: "consumer" })
      assert.notStrictEqual(span.traceId, traceId)
      assert.deepInclude(span.links[0]?.span, { traceId, spanId: "b7ad6b7169203331", sampled: true })
      assert.deepInclude(Object.fromEntries(span.attributes), {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.message.id": "m-1",
        "messaging.rabbitmq.destination.routing_key": "work",
        "messaging.rabbitmq.message.delivery_tag": 1
      })
    }))

  it.effect("a message that was published with tracing leads from its consumer's span to its publisher's", () => {
    const { spans, tracer } = Spans.make()
    return onMemory(
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.make({ tracing: true })
        yield* AmqpConsumer.make(work, () => Effect.void, { tracing: true })
        yield* publisher.publish({ routingKey: "work", body: "a" })
        yield* settled
        const [published, processed] = spans
        assert.deepStrictEqual([published?.kind, processed?.kind], ["producer", "consumer"])
        assert.deepInclude(processed?.links[0]?.span, { traceId: published?.traceId, spanId: published?.spanId })
      }).pipe(Effect.withTracer(tracer))
    )
  })

  it.effect("a trace context that is malformed or empty is no link", () =>
    Effect.gen(function*() {
      for (const bad of ["", "00-abc-def-01", `00-${"0".repeat(32)}-b7ad6b7169203331-01`, 7]) {
        const [span] = yield* spansOf({ tracing: true }, { traceparent: bad })
        assert.deepStrictEqual(span?.links, [])
      }
    }))

  it.effect("without tracing there is no span", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* spansOf({}, { traceparent }), [])
    }))

  it.effect("metrics count what was delivered, acknowledged, failed by policy and dropped as stale", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.flatMap(
            delivery.text,
            (text) => text === "bad" ? Effect.fail("no") : text === "slow" ? Effect.sleep("3 seconds") : Effect.void
          ),
        { concurrency: 2 }
      )
      yield* send("good", "bad", "good", "slow")
      assert.strictEqual(yield* metric("amqp_consumer_in_progress"), 1)
      yield* broker.cutConnections
      yield* pass(10_000)
      assert.strictEqual(yield* metric("amqp_consumer_delivered"), 5)
      assert.strictEqual(yield* metric("amqp_consumer_acked"), 3)
      assert.strictEqual(yield* metric("amqp_consumer_failed", "deadLetter"), 1)
      assert.strictEqual(yield* metric("amqp_consumer_stale"), 1)
      assert.strictEqual(yield* metric("amqp_consumer_in_progress"), 0)
    })).pipe(withOwnMetrics))
})
