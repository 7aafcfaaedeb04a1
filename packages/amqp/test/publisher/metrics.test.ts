import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Metric, Schedule } from "effect"
import { AmqpConsumer, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { begin, paid, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

/** The state of the one metric with these attributes. */
const stateOf = (id: string, attributes: Readonly<Record<string, string>>) =>
  Effect.map(Metric.snapshot, (metrics) => {
    const found = metrics.filter((metric) =>
      metric.id === id &&
      Object.entries(attributes).every(([key, value]) =>
        (metric.attributes as Readonly<Record<string, string>>)[key] === value
      )
    )
    assert.isAtMost(found.length, 1, `several metrics ${id} have these attributes`)
    return found[0]?.state
  })

const gauge = (id: string, purpose: string) =>
  Effect.map(stateOf(id, { purpose }), (state) => state !== undefined && "value" in state ? state.value : undefined)

const counter = (id: string, attributes: Readonly<Record<string, string>>) =>
  Effect.map(stateOf(id, attributes), (state) => state !== undefined && "count" in state ? state.count : undefined)

const onMemory = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  test.pipe(
    Effect.scoped,
    Effect.provide(Virtual.layer()),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )

const sent = {
  "messaging.system": "rabbitmq",
  "messaging.operation.name": "publish",
  "messaging.destination.name": "orders"
}

describe("the metrics of publishers", () => {
  it.effect("add up what is in flight at several publishers", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const one = yield* AmqpPublisher.make()
      const other = yield* AmqpPublisher.make()
      yield* broker.withholdConfirms
      for (let i = 0; i < 3; i++) yield* begin(Effect.exit(one.publish(paid(i))))
      yield* begin(Effect.exit(other.publish(paid(3))))
      yield* Virtual.settle
      assert.strictEqual(yield* gauge("amqp_publisher_in_flight", "publish"), 4)
      yield* broker.releaseConfirms
      yield* Virtual.settle
      assert.strictEqual(yield* gauge("amqp_publisher_in_flight", "publish"), 0)
    })))

  it.effect("count by the exchange", () =>
    onMemory(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.make()
      yield* publisher.publish(paid(1))
      yield* publisher.publish({ routingKey: "invoices", body: 2 })
      yield* publisher.publish({ routingKey: "invoices", body: 3 })
      yield* Virtual.settle
      assert.strictEqual(yield* counter("amqp_publisher_confirmed", { exchange: "orders" }), 1)
      assert.strictEqual(yield* counter("amqp_publisher_confirmed", { exchange: "amq.default" }), 2)
    })))

  it.effect("count by a hundred exchanges of all publishers at most, and the rest together", () =>
    onMemory(Effect.gen(function*() {
      const one = yield* AmqpPublisher.make()
      const other = yield* AmqpPublisher.make()
      yield* one.publish(paid(1))
      const failing = yield* begin(
        Effect.flip(other.publishAll(
          Array.from({ length: 150 }, (_, i) => ({ exchange: `tenant-${i}`, routingKey: "x", body: i }))
        ))
      )
      yield* pass(4000, 50)
      assert.strictEqual((yield* Fiber.join(failing)).failures.length, 150)
      yield* one.publish(paid(2))
      yield* Virtual.settle
      const exchanges = (yield* Metric.snapshot).flatMap(({ attributes, id }) =>
        id === "amqp_publisher_failed" || id === "amqp_publisher_confirmed"
          ? [(attributes as Readonly<Record<string, string>>)["exchange"]!]
          : []
      )
      assert.isAtMost(new Set(exchanges).size, 101)
      assert.strictEqual(yield* counter("amqp_publisher_confirmed", { exchange: "orders" }), 2)
      assert.strictEqual(yield* counter("amqp_publisher_failed", { exchange: "tenant-0" }), 1)
      assert.strictEqual(yield* counter("amqp_publisher_failed", { exchange: "_OTHER" }), 51)
    })))

  it.effect("tell the copies of a consumer's retry from the application's messages", () =>
    onMemory(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.make()
      yield* AmqpConsumer.make(Virtual.invoices, () => Effect.fail("no"), {
        onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("1 second"), { times: 2 }))
      })
      yield* publisher.publish(paid(1))
      yield* pass(5000)
      assert.strictEqual(yield* counter("amqp_publisher_confirmed", { purpose: "publish" }), 1)
      assert.strictEqual(yield* counter("amqp_publisher_confirmed", { purpose: "retry" }), 3)
      assert.strictEqual(
        yield* counter("messaging.client.sent.messages", { "messaging.operation.name": "retry" }),
        3
      )
    })))

  it.effect("follow OpenTelemetry's conventions for what was sent, by the type of its error", () =>
    onMemory(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.make()
      yield* publisher.publish(paid(1))
      yield* publisher.publish(paid(2))
      yield* Virtual.settle
      assert.strictEqual(yield* counter("messaging.client.sent.messages", sent), 2)
      yield* reason(
        Effect.andThen(AmqpPublisher.AmqpPublisher, (service) => service.publish(paid(3, { routingKey: "x" })))
      )
        .pipe(Effect.provideService(AmqpPublisher.AmqpPublisher, publisher))
      yield* Effect.exit(publisher.publish(paid(4, { priority: -1 })))
      yield* Virtual.settle
      const failed = (type: string) => counter("messaging.client.sent.messages", { ...sent, "error.type": type })
      assert.strictEqual(yield* failed("Unroutable"), 1)
      assert.strictEqual(yield* failed("InvalidMessage"), 1)
    })))

  it.effect("have the duration of a publish in seconds, by the convention's boundaries", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const publisher = yield* AmqpPublisher.make()
      yield* broker.delayConfirms("300 millis")
      yield* begin(publisher.publish(paid(1)))
      yield* pass(1000, 50)
      const state = yield* stateOf("messaging.client.operation.duration", sent)
      assert.isTrue(state !== undefined && "buckets" in state)
      if (state === undefined || !("buckets" in state)) return
      assert.deepStrictEqual(Number(state.count), 1)
      assert.closeTo(Number(state.sum), 0.3, 0.06)
    })))

  it.effect("of a publisher that ended are zero where they are gauges", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.withholdConfirms
      yield* Effect.forkChild(
        Effect.scoped(Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.make({ drainTimeout: "1 second" })
          yield* begin(Effect.exit(publisher.publish(paid(1))))
          yield* Virtual.settle
        })),
        { startImmediately: true }
      )
      yield* pass(3000)
      assert.strictEqual(yield* gauge("amqp_publisher_in_flight", "publish"), 0)
    })))
})
