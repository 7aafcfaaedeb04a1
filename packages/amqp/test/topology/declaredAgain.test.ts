import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream, SubscriptionRef } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"

const events = AmqpTopology.exchange("events", { type: "topic" })
const work = AmqpTopology.queue("work", { maxLength: 100 })
const news = AmqpTopology.serverNamedQueue("news")

const connected = Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
  Layer.provideMerge(AmqpConnection.layer()),
  Layer.provideMerge(AmqpMemory.layer)
)

const run = <A, E, R>(test: Effect.Effect<A, E, R>) => test.pipe(Effect.scoped, Effect.provide(connected))

/** Consume, and let what was handled be seen. */
const collect = Effect.fnUntraced(function*(queue: AmqpConsumer.Source) {
  const handled: Array<string> = []
  yield* AmqpConsumer.make(queue, (delivery) => Effect.map(delivery.text, (text) => handled.push(text)))
  return handled
})

const publish = (body: string) =>
  Effect.andThen(
    Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) =>
      publisher.publish({ exchange: events, routingKey: "key", body })),
    settled
  )

describe("a queue of a topology that is gone within a session", () => {
  it.effect("is declared again with its bindings, on the same session", () =>
    run(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpTopology.declare(AmqpTopology.make(events, work, AmqpTopology.bind(work, events, "key")))
      const handled = yield* collect("work")
      const { health } = yield* AmqpConnection.AmqpConnection
      const [before] = (yield* health).consumers
      yield* channel.deleteQueue(work)
      yield* pass(2000)
      yield* publish("after")
      assert.deepStrictEqual(handled, ["after"])
      assert.strictEqual((yield* broker.queue("work"))?.consumers, 1)
      const [after] = (yield* health).consumers
      assert.strictEqual(after?._tag === "Attached" && after.epoch, before?._tag === "Attached" && before.epoch)
      // It has the properties of the topology again.
      yield* channel.declareQueue(work)
    })))

  it.effect("is declared again after an exchange that it is bound to went with it", () =>
    run(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* AmqpTopology.declare(AmqpTopology.make(events, work, AmqpTopology.bind(work, events, "key")))
      const handled = yield* collect(work)
      yield* channel.deleteExchange(events)
      yield* channel.deleteQueue(work)
      yield* pass(2000)
      yield* publish("after")
      assert.deepStrictEqual(handled, ["after"])
    })))

  it.effect("is declared again after it was deleted with its last consumer, whose channel was closed", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const once = AmqpTopology.queue("once", { autoDelete: true })
      yield* AmqpTopology.declare(AmqpTopology.make(events, once, AmqpTopology.bind(once, events, "key")))
      const handled = yield* collect(once)
      yield* broker.closeChannels({ replyCode: 406, replyText: "delivery acknowledgement timed out" })
      yield* pass(2000)
      yield* publish("after")
      assert.deepStrictEqual(handled, ["after"])
    })))

  it.effect("stays as another program made it meanwhile", () =>
    run(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* AmqpTopology.declare(AmqpTopology.make(work))
      const handled = yield* collect(work)
      yield* channel.deleteQueue(work)
      yield* channel.declareQueue({ name: "work" })
      yield* pass(2000)
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publish({ routingKey: "work", body: "after" })
      yield* settled
      assert.deepStrictEqual(handled, ["after"])
    })))

  it.effect("is left alone once the scope of its topology has ended", () =>
    run(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* Effect.scoped(AmqpTopology.declare(AmqpTopology.make(work)))
      yield* collect(work)
      yield* channel.deleteQueue(work)
      yield* pass(2000)
      assert.strictEqual((yield* Effect.flip(channel.checkQueue(work))).reason._tag, "NotFound")
    })))

  it.effect("has a new name that consumers and bindings follow if the broker named it", () =>
    run(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* AmqpTopology.declare(AmqpTopology.make(events, news, AmqpTopology.bind(news, events, "key")))
      const handled = yield* collect(news)
      const before = yield* AmqpTopology.currentName(news)
      yield* channel.deleteQueue(before)
      yield* pass(2000)
      yield* publish("after")
      assert.deepStrictEqual(handled, ["after"])
      assert.notStrictEqual(yield* AmqpTopology.currentName(news), before)
    })))
})

describe("followName", () => {
  it.effect("has the present name, and tells each change", () =>
    run(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpTopology.declare(AmqpTopology.make(news))
      yield* collect(news)
      const name = yield* AmqpTopology.followName(news)
      const seen: Array<string | undefined> = []
      yield* SubscriptionRef.changes(name).pipe(
        Stream.runForEach((name) => Effect.sync(() => seen.push(name))),
        Effect.forkScoped
      )
      yield* pass(2000)
      const first = yield* AmqpTopology.currentName(news)
      assert.strictEqual(SubscriptionRef.getUnsafe(name), first)

      yield* channel.deleteQueue(first)
      yield* pass(2000)
      const second = yield* AmqpTopology.currentName(news)
      yield* broker.cutConnections
      yield* settled
      yield* pass(2000)
      const third = yield* AmqpTopology.currentName(news)
      assert.deepStrictEqual(seen, [first, second, undefined, third])
      assert.strictEqual(new Set(seen).size, 4)
    })))

  it.effect("fails when no topology declares the queue", () =>
    run(Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(AmqpTopology.followName(news)), { startImmediately: true })
      yield* pass(60_000)
      const exit = fiber.pollUnsafe()
      assert.isDefined(exit)
      const error = yield* exit!
      assert.strictEqual(error.reason._tag, "NotFound")
    })))
})
