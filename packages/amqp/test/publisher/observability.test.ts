import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Scope, Tracer } from "effect"
import { AmqpChannel, AmqpPublisher } from "effect-amqp"
import type { AmqpMessage } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("what an AmqpPublisher shows", () => {
  const value = (id: string) =>
    Effect.map(Metric.snapshot, (metrics) => {
      const metric = metrics.find((metric) => metric.id === id)
      return metric === undefined
        ? undefined
        : "count" in metric.state
        ? Number(metric.state.count)
        : metric.state
    })

  it.effect("counts what was confirmed, failed, returned, nacked and republished, and how long confirms took", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* publish(paid(1))
      yield* reason(publish(paid(2, { routingKey: "nobody" })))
      yield* broker.nackConfirms(1)
      const third = yield* begin(publish(paid(3)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(third)
      yield* Virtual.settle
      assert.strictEqual(yield* value("amqp_publisher_confirmed"), 2)
      assert.strictEqual(yield* value("amqp_publisher_failed"), 1)
      assert.strictEqual(yield* value("amqp_publisher_returned"), 1)
      assert.strictEqual(yield* value("amqp_publisher_nacked"), 1)
      assert.strictEqual(yield* value("amqp_publisher_republished"), 1)
      assert.strictEqual(yield* value("amqp_publisher_confirm_latency"), 2)
    }).pipe(
      Effect.provide(Virtual.layer()),
      Effect.provideService(Metric.MetricRegistry, new Map())
    ))

  it.effect("counts a message that failed before the wire, and one that came after the end", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const publisher = yield* Scope.provide(AmqpPublisher.make({ maxMessageBytes: 10 }), scope)
      yield* Effect.flip(publisher.publish(paid(1, { priority: -1 })))
      yield* Virtual.settle
      assert.strictEqual(yield* value("amqp_publisher_failed"), 1)
      yield* Effect.flip(publisher.publishAll([paid("x".repeat(11)), paid({ n: 1n } as never)]))
      yield* Virtual.settle
      assert.strictEqual(yield* value("amqp_publisher_failed"), 3)
      yield* Scope.close(scope, Exit.void)
      yield* Virtual.settle
      yield* Effect.flip(publisher.publish(paid(2)))
      yield* Virtual.settle
      assert.strictEqual(yield* value("amqp_publisher_failed"), 4)
    }).pipe(
      Effect.provide(Virtual.layer()),
      Effect.provideService(Metric.MetricRegistry, new Map())
    ))

  it.effect("with tracing: true each message carries its producer span, which ends with the outcome", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span(options) {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      yield* Effect.gen(function*() {
        yield* publisher.publish(paid(1))
        yield* publisher.publishAll([paid(2)])
        yield* reason(publisher.publish(paid(3, { routingKey: "nobody" })))
      }).pipe(Effect.withTracer(tracer))
      assert.deepStrictEqual(spans.map((span) => span.name), [
        "publish orders:paid",
        "publish orders:paid",
        "publish orders:nobody"
      ])
      assert.deepStrictEqual(spans.map((span) => span.kind), ["producer", "producer", "producer"])
      assert.strictEqual(spans[0]!.attributes.get("messaging.system"), "rabbitmq")
      assert.deepStrictEqual(
        spans.map((span) => span.status._tag === "Ended" ? Exit.isSuccess(span.status.exit) : "open"),
        [true, true, false]
      )
      for (const span of spans.slice(0, 2)) {
        const delivery = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
        assert.strictEqual(delivery.headers["traceparent"], `00-${span.traceId}-${span.spanId}-01`)
      }
    }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

  it.effect("the gauges follow what waits and what is in flight, without an outcome too", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const gauges = Effect.map(
        Metric.snapshot,
        (metrics) =>
          ["amqp_publisher_waiting", "amqp_publisher_in_flight"].map((id) => {
            const state = metrics.find((metric) => metric.id === id)?.state
            return state !== undefined && "value" in state ? state.value : undefined
          })
      )
      yield* broker.withholdConfirms
      const late = yield* begin(reason(publish(paid(1))))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(late)
      assert.deepStrictEqual(yield* gauges, [0, 1])
      yield* broker.releaseConfirms
      yield* Virtual.settle
      assert.deepStrictEqual(yield* gauges, [0, 0])
      yield* TestClock.adjust("10 seconds")
      yield* broker.refuseConnects(1000)
      yield* broker.cutConnections
      yield* Virtual.settle
      const waiting = yield* begin(reason(publish(paid(2))))
      yield* Virtual.settle
      assert.deepStrictEqual(yield* gauges, [1, 0])
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(waiting)
    }).pipe(
      Effect.provide(Virtual.layer()),
      Effect.provideService(Metric.MetricRegistry, new Map())
    ))

  /** A tracer whose spans can be looked at, and may refuse to end. */
  const recording = (onEnd: () => void = () => {}) => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span(options) {
        const span = new Tracer.NativeSpan(options)
        const end = span.end.bind(span)
        span.end = (time, exit) => {
          onEnd()
          end(time, exit)
        }
        spans.push(span)
        return span
      }
    })
    return { spans, tracer }
  }

  it.effect("a tracer that throws costs no message its outcome", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const { tracer } = recording(() => {
        throw new Error("the exporter is broken")
      })
      const traced = yield* begin(Effect.withTracer(publisher.publishAll([paid(1), paid(2)]), tracer))
      const single = yield* begin(Effect.withTracer(publisher.publish(paid(3)), tracer))
      yield* Virtual.settle
      yield* Fiber.join(traced)
      yield* Fiber.join(single)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

  it.effect("the spans of an interrupted batch end", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const { spans, tracer } = recording()
      yield* broker.withholdConfirms
      const batch = yield* begin(Effect.withTracer(publisher.publishAll([paid(1), paid(2)]), tracer))
      yield* Fiber.interrupt(batch)
      assert.deepStrictEqual(spans.map(({ status }) => status._tag), ["Ended", "Ended"])
    }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

  it.effect("a traced message may be of a class with fields that are computed", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const publisher = yield* AmqpPublisher.AmqpPublisher
      class Paid implements AmqpMessage.Message {
        readonly #order: number
        constructor(order: number) {
          this.#order = order
        }
        get exchange() {
          return Virtual.orders
        }
        get routingKey() {
          return "paid"
        }
        get body() {
          return { order: this.#order }
        }
        get headers() {
          return { version: 2 }
        }
      }
      yield* publisher.publish(new Paid(1))
      yield* publisher.publishAll([new Paid(2)])
      for (const order of [1, 2]) {
        const delivery = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
        assert.strictEqual(yield* delivery.text, `{"order":${order}}`)
        assert.hasAllKeys(delivery.headers, ["version", "traceparent"])
      }
    }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

  it.effect("a message that failed is given back as it was, without the trace of its publish", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const message = paid(1, { routingKey: "nobody" })
      const { failures } = yield* Effect.flip(publisher.publishAll([message]))
      assert.strictEqual(failures[0].message, message)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))
})
