import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Schedule, Scope } from "effect"
import { AmqpChannel, AmqpConsumer } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import {
  client,
  consumers,
  metric,
  onMemory,
  ready,
  send,
  unacked,
  withOwnMetrics,
  work
} from "../support/Consuming.ts"

describe("the supervision of an AmqpConsumer", () => {
  const comesBackAfter = (
    fault: (broker: AmqpMemory.AmqpMemory["Service"]) => Effect.Effect<unknown, unknown, AmqpChannel.AmqpChannel>
  ) =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const handled: Array<string> = []
      yield* AmqpConsumer.make(work, (delivery) => Effect.map(delivery.text, (text) => handled.push(text)), {
        prefetch: 7,
        arguments: { "x-priority": 3 }
      })
      yield* send("before")
      yield* fault(broker)
      yield* pass(10_000)
      assert.strictEqual((yield* consumers)[0]?._tag, "Attached")
      yield* send(...Array.from({ length: 9 }, (_, i) => `after ${i}`))
      assert.strictEqual(handled.length, 10)
      assert.strictEqual((yield* broker.queue("work"))?.consumers, 1)
    }))

  it.effect("a consumer comes back after its connection was cut", () =>
    comesBackAfter((broker) => broker.cutConnections))
  it.effect("a consumer comes back after an operator closed the connections", () =>
    comesBackAfter((broker) => broker.forceClose("maintenance")))
  it.effect("a consumer comes back after a restart of the broker", () =>
    comesBackAfter((broker) => broker.crash.pipe(Effect.andThen(pass(5000)), Effect.andThen(broker.start))))
  for (const replyCode of [404, 405, 406, 403]) {
    it.effect(`a consumer comes back after its channel was closed with ${replyCode}`, () =>
      comesBackAfter((broker) => broker.closeChannels({ replyCode, replyText: "some reason" })))
  }
  it.effect("a consumer comes back after the broker cancelled it", () =>
    comesBackAfter((broker) => broker.cancelConsumers("work")))
  it.effect("a consumer comes back after its queue was deleted and declared again", () =>
    comesBackAfter(() =>
      Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        yield* channel.deleteQueue(work)
        yield* pass(20_000)
        yield* channel.declareQueue(work)
      })
    ))

  it.effect("an acknowledgement of a lost channel is counted and dropped, and its message comes again once", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const gates = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
      const seen: Array<string> = []
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) =>
          Effect.flatMap(delivery.text, (text) => {
            seen.push(`${text} ${delivery.redelivered}`)
            return text === "c" && !delivery.redelivered
              ? gates[0]!.await
              : text === "d"
              ? gates[1]!.await
              : Effect.void
          }),
        { concurrency: 2 }
      )
      yield* send("c")
      yield* broker.cutConnections
      yield* pass(2000)
      yield* send("d")
      assert.deepStrictEqual(seen, ["c false", "c true", "d false"])
      // The old handler ends now; its tag 1 means another message on the new channel.
      yield* gates[0]!.open
      yield* settled
      assert.strictEqual(yield* unacked, 1)
      assert.deepInclude(yield* consumer.counts, { stale: 1, acked: 1 })
      yield* gates[1]!.open
      yield* settled
      assert.deepStrictEqual([yield* unacked, yield* ready("work")], [0, 0])
    })))

  it.effect("an acknowledgement that was due when its channel was lost is counted as stale, and not as acked", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      let finish = () => {}
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) =>
          delivery.redelivered
            ? Effect.void
            : Effect.callback<void>((resume) => {
              finish = () => resume(Effect.void)
            })
      )
      yield* send("a")
      // It ends in the turn in which the client hears of the cut, and before it does.
      yield* Effect.andThen(broker.cutConnections, Effect.sync(() => finish()))
      yield* pass(5000)
      assert.deepStrictEqual([yield* unacked, yield* ready("work")], [0, 0])
      assert.deepInclude(yield* consumer.counts, { delivered: 2, acked: 1, stale: 1 })
      assert.strictEqual(yield* metric("amqp_consumer_acked"), 1)
    })).pipe(withOwnMetrics))

  it.effect("what no handler had begun with when the channel was lost is handled once", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const seen: Array<string> = []
      yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.andThen(Effect.map(delivery.text, (text) => seen.push(text)), Effect.sleep("1 second"))
      )
      yield* send("a", "b", "c")
      yield* broker.cutConnections
      yield* pass(10_000)
      assert.deepStrictEqual(seen, ["a", "a", "b", "c"])
    })))

  it.effect("a consumer of a queue that does not exist fails at once", () =>
    onMemory(Effect.gen(function*() {
      const error = yield* Effect.flip(AmqpConsumer.run("nowhere", () => Effect.void))
      assert.strictEqual(error.reason._tag, "NotFound")
      assert.deepStrictEqual(yield* consumers, [])
    })))

  it.effect("a consumer whose queue stays deleted says so, and ends with NotFound when its patience is over", () =>
    onMemory(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* channel.declareQueue({ name: "elsewhere" })
      const running = yield* Effect.forkChild(
        AmqpConsumer.run("elsewhere", () => Effect.void, { missingQueueTimeout: "30 seconds" }),
        { startImmediately: true }
      )
      yield* pass(60_000)
      yield* channel.deleteQueue("elsewhere")
      yield* pass(29_000)
      const [health] = yield* consumers
      assert.strictEqual(health?._tag, "Detached")
      assert.deepInclude(health, { since: new Date(60_000), ended: false })
      assert.strictEqual(health?._tag === "Detached" ? health.cause?.reason._tag : undefined, "NotFound")
      yield* pass(5000)
      const error = yield* Effect.flip(Fiber.join(running))
      assert.strictEqual(error.reason._tag, "NotFound")
    })))

  it.effect("a consumer that has ended does not come back, also when its queue does", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      yield* channel.declareQueue({ name: "elsewhere" })
      const consumer = yield* AmqpConsumer.make("elsewhere", () => Effect.void, { missingQueueTimeout: "30 seconds" })
      yield* channel.deleteQueue("elsewhere")
      yield* pass(60_000)
      assert.strictEqual((yield* Effect.flip(consumer.ended)).reason._tag, "NotFound")
      yield* channel.declareQueue({ name: "elsewhere" })
      yield* broker.cutConnections
      yield* pass(10_000)
      assert.strictEqual((yield* broker.queue("elsewhere"))?.consumers, 0)
      assert.deepInclude(yield* consumer.health, { _tag: "Detached", ended: true })
    })))

  it.effect("a consumer that could not be made leaves nothing behind in its scope", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const before = yield* broker.counts
      for (let attempt = 0; attempt < 3; attempt++) {
        const error = yield* Effect.flip(AmqpConsumer.make("nowhere", () => Effect.void, {
          onFailure: AmqpConsumer.retry(Schedule.recurs(1))
        }))
        assert.strictEqual(error.reason._tag, "NotFound")
      }
      assert.deepStrictEqual(yield* consumers, [])
      assert.deepStrictEqual(yield* broker.counts, before)
    })))

  it.effect("a queue that another consumer has for itself is tried again for three heartbeats", () =>
    onMemory(Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.provide(AmqpConsumer.make(work, () => Effect.void, { exclusive: true }), scope)
      const second = yield* Effect.forkChild(AmqpConsumer.make(work, () => Effect.void, { exclusive: true }), {
        startImmediately: true
      })
      yield* pass(20_000)
      assert.isUndefined(second.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      yield* pass(2000)
      yield* Fiber.join(second)

      const third = yield* Effect.forkChild(
        Effect.flip(AmqpConsumer.make(work, () => Effect.void, { exclusive: true })),
        {
          startImmediately: true
        }
      )
      yield* pass(31_000)
      assert.strictEqual((yield* Fiber.join(third)).reason._tag, "ResourceLocked")
    })))

  it.effect("a consumer ends with ReconnectAbandoned when the connection gives up", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const running = yield* Effect.forkChild(AmqpConsumer.run(work, () => Effect.void), { startImmediately: true })
      yield* settled
      yield* broker.refuseConnects(100)
      yield* broker.cutConnections
      yield* pass(10_000)
      assert.strictEqual((yield* Effect.flip(Fiber.join(running))).reason._tag, "ReconnectAbandoned")
    }).pipe(
      Effect.scoped,
      Effect.provide(client({ retry: { interval: "1 second", max: 3 } }).pipe(Layer.provideMerge(AmqpMemory.layer)))
    ))

  it.effect("an alarm that blocks the publisher does not stop acknowledgements", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      let handled = 0
      yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => handled++)))
      yield* send("a", "b", "c")
      yield* broker.block()
      const blocked = yield* Effect.forkChild(Effect.exit(send("d")), { startImmediately: true })
      yield* pass(4000)
      assert.deepStrictEqual([handled, yield* unacked], [3, 0])
      yield* broker.unblock
      yield* pass(2000)
      yield* Fiber.join(blocked)
      assert.strictEqual(handled, 4)
    })))
})
