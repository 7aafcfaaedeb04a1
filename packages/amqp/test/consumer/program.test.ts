/**
 * A worker, as its users write it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"

const Order = Schema.Struct({ id: Schema.Number })
const rejected = AmqpTopology.queue("invoices.rejected", { type: "quorum" })
const invoices = AmqpTopology.queue("invoices", {
  type: "quorum",
  deadLetterExchange: "",
  deadLetterRoutingKey: rejected.name
})

class Invoices extends Context.Service<Invoices>()("test/Invoices", {
  make: Effect.sync(() => {
    const created: Array<number> = []
    const create = Effect.fnUntraced(function*({ id }: typeof Order.Type) {
      yield* Effect.sleep("1 second")
      created.push(id)
    })
    return { created, create }
  })
}) {
  static readonly layer = Layer.effect(this, this.make)
}

const InvoiceWorker = AmqpConsumer.layer(
  invoices,
  Effect.fnUntraced(function*(delivery) {
    const order = yield* delivery.json(Order)
    yield* Invoices.use(({ create }) => create(order))
  }),
  {
    prefetch: 100,
    concurrency: 10,
    onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
  }
)

/** The queue is somebody else's: the worker declares nothing but what its retry needs. */
const Declared = AmqpPublisher.layer().pipe(
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(invoices, rejected))),
  Layer.provide(AmqpConnection.layer())
)

const publish = (body: object) =>
  AmqpPublisher.AmqpPublisher.use((publisher) => publisher.publish({ routingKey: invoices.name, body }))

describe("a worker", () => {
  it.effect("handles ten at once, survives a broker that is killed, and finishes its handlers when it is told to stop", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { created } = yield* Invoices
      const ids = Array.from({ length: 25 }, (_, id) => id)
      yield* Effect.forEach(ids, (id) => publish({ id }), { discard: true })

      // What NodeRuntime.runMain runs; SIGTERM interrupts it.
      const process = yield* InvoiceWorker.pipe(
        Layer.provide(AmqpConnection.layerConfig()),
        Layer.launch,
        Effect.forkChild({ startImmediately: true })
      )
      yield* pass(1500)
      assert.lengthOf(created, 10)
      yield* broker.crash
      yield* pass(1000)
      yield* broker.start
      yield* pass(5000)
      assert.sameMembers([...new Set(created)], ids)

      yield* publish({ id: 25 })
      yield* pass(100)
      yield* Fiber.interrupt(process).pipe(Effect.forkChild({ startImmediately: true }))
      yield* pass(2000)
      assert.isDefined(process.pollUnsafe())
      assert.include(created, 25)
      assert.deepInclude(yield* broker.queue(invoices.name), { ready: 0, unacked: 0, consumers: 0 })
    }).pipe(Effect.provide(Invoices.layer), Effect.provide(Declared), Effect.provide(AmqpMemory.layer)))

  it.effect("hands what it cannot decode to its policy, which tries it five times again and parks it", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* publish({ no: "order" })
      yield* InvoiceWorker.pipe(Layer.provide(AmqpConnection.layerConfig()), Layer.launch, Effect.forkScoped)
      yield* pass(30_000)
      assert.deepInclude(yield* broker.queue(invoices.name), { ready: 0, unacked: 0 })
      assert.strictEqual(yield* broker.depth("invoices.parked"), 0)
      yield* pass(5000)
      assert.strictEqual(yield* broker.depth("invoices.parked"), 1)
    }).pipe(Effect.provide(Invoices.layer), Effect.provide(Declared), Effect.provide(AmqpMemory.layer)))
})
