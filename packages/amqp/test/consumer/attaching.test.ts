import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpError, AmqpPublisher, AmqpTopology } from "effect-amqp"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { consumers, logging, onMemory, ready, send, unacked, work } from "../support/Consuming.ts"

const noted = (seen: Array<string>, who = "") => (delivery: AmqpDelivery.Delivery) =>
  Effect.map(delivery.text, (text) => seen.push(`${who}${text}`))

describe("an exclusive consumer", () => {
  it.effect("that stands by waits until the queue is free, however long that takes, and says so in its health", () => {
    const lines: Parameters<typeof logging>[0] = []
    return onMemory(Effect.gen(function*() {
      const seen: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.provide(AmqpConsumer.make(work, noted(seen, "a"), { exclusive: true }), scope)
      yield* AmqpConsumer.make(work, noted(seen, "b"), { exclusive: "standby" })
      yield* pass(300_000)
      const [, second] = yield* consumers
      assert.deepInclude(second, { _tag: "Detached", ended: false })
      assert.strictEqual(second?._tag === "Detached" ? second.cause?.reason._tag : undefined, "ResourceLocked")
      yield* send("1")
      yield* Scope.close(scope, Exit.void)
      yield* pass(2000)
      yield* send("2")
      assert.deepStrictEqual(seen, ["a1", "b2"])
      assert.lengthOf(lines.filter(({ message }) => message.startsWith("AMQP consumer stands by")), 1)
    })).pipe(Effect.provide(logging(lines)))
  })

  it.effect("that stands by has the queue after the connection of the other is gone", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const seen: Array<string> = []
      yield* AmqpConsumer.make(work, noted(seen), { exclusive: "standby" })
      yield* AmqpConsumer.make(work, noted(seen), { exclusive: "standby" })
      yield* broker.cutConnections
      yield* pass(10_000)
      yield* send("1")
      assert.deepStrictEqual(seen, ["1"])
      assert.sameMembers((yield* consumers).map(({ _tag }) => _tag), ["Attached", "Detached"])
    })).pipe(Effect.provide(logging([]))))
})

describe("a consumer with noAck", () => {
  it.effect("has its messages forgotten as they are sent, and counts those whose handler failed as dropped", () =>
    onMemory(Effect.gen(function*() {
      const consumer = yield* AmqpConsumer.make(
        work,
        (delivery) => Effect.flatMap(delivery.text, (text) => text === "2" ? Effect.fail("no") : delivery.ack()),
        { noAck: true }
      )
      yield* send("1", "2", "3")
      assert.deepInclude(yield* consumer.counts, { delivered: 3, acked: 2, dropped: 1, deadLettered: 0, stale: 0 })
      assert.deepStrictEqual([yield* ready("work"), yield* unacked, yield* ready("dead")], [0, 0, 0])
    })).pipe(Effect.provide(logging([]))))

  it.effect("handles at the end of its scope what has come", () =>
    onMemory(Effect.gen(function*() {
      const seen: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.provide(
        AmqpConsumer.make(work, (delivery) => Effect.andThen(Effect.sleep("1 second"), noted(seen)(delivery)), {
          noAck: true
        }),
        scope
      )
      yield* send("1", "2", "3")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* pass(10_000)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(seen, ["1", "2", "3"])
    })))

  it.effect("refuses a policy that needs the message back", () =>
    onMemory(Effect.gen(function*() {
      for (const onFailure of ["requeue", "deadLetter", "giveBack", () => "drop" as const] as const) {
        const error = yield* Effect.flip(AmqpConsumer.make(work, () => Effect.void, { noAck: true, onFailure }))
        assert.strictEqual(error.reason._tag, "InvalidConfiguration")
      }
    })))
})

describe("the consumer tag", () => {
  it.effect("is the one that is given, on every session", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConsumer.make(work, () => Effect.void, { consumerTag: "invoice-worker" })
      yield* broker.cutConnections
      yield* pass(5000)
      // RabbitMQ refuses a second consumer of that name on the same channel, and each consumer has a channel of its own.
      yield* AmqpConsumer.make(work, () => Effect.void, { consumerTag: "invoice-worker" })
      assert.deepStrictEqual((yield* consumers).map(({ _tag }) => _tag), ["Attached", "Attached"])
    })).pipe(Effect.provide(logging([]))))
})

describe("the arguments of a consumer", () => {
  it.effect("that are an effect are asked at each attach", () =>
    onMemory(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      let asked = 0
      yield* AmqpConsumer.make(work, () => Effect.void, {
        arguments: Effect.sync(() => ({ "x-priority": ++asked }))
      })
      assert.strictEqual(asked, 1)
      yield* broker.cutConnections
      yield* pass(5000)
      assert.strictEqual(asked, 2)
    })).pipe(Effect.provide(logging([]))))

  it.effect("whose effect fails fail the consumer that has them, and no other", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpConsumer.make(work, () => Effect.void)
      const failure = new AmqpError.AmqpError({
        operation: "ask",
        reason: new AmqpError.InvalidConfiguration({ option: "arguments", detail: "no offset is kept" })
      })
      const error = yield* Effect.flip(AmqpConsumer.make(work, () => Effect.void, { arguments: Effect.fail(failure) }))
      assert.strictEqual(error.reason, failure.reason)
      assert.deepStrictEqual((yield* consumers).map(({ _tag }) => _tag), ["Attached"])
    })).pipe(Effect.provide(logging([]))))
})

for (const version of ["3.10", "4.0", "4.3"] as const) {
  for (const [type, byName] of [["classic", false], ["quorum", false], ["quorum", true]] as const) {
    const queue = AmqpTopology.queue("ordered", { type, singleActiveConsumer: true })
    describe(`a single active consumer of a ${type} queue${byName ? " by name" : ""} of RabbitMQ ${version}`, () => {
      it.effect("keeps the order of the queue and has it alone when the active one is stopped", () =>
        Effect.gen(function*() {
          yield* AmqpTopology.declare(AmqpTopology.make(queue))
          const seen: Array<number> = []
          let running = 0
          let mostRunning = 0
          const handler = (millis: number) => (delivery: AmqpDelivery.Delivery) =>
            Effect.gen(function*() {
              mostRunning = Math.max(mostRunning, ++running)
              seen.push(Number(yield* delivery.text))
              yield* Effect.sleep(millis)
              running--
            })
          const options = { prefetch: 10, ...(byName ? { keepOrder: true } : {}) }
          const source = byName ? "ordered" : queue
          const own = yield* Scope.make()
          const first = yield* Layer.buildWithScope(AmqpConnection.layer(), own)
          yield* AmqpConsumer.make(source, handler(3000), options).pipe(Effect.provide(first), Scope.provide(own))
          const publisher = yield* AmqpPublisher.make()
          for (let i = 0; i < 30; i++) yield* publisher.publish({ routingKey: "ordered", body: String(i) })
          yield* AmqpConsumer.make(source, handler(100), options)
          yield* pass(7000)
          const closing = yield* Effect.forkChild(Scope.close(own, Exit.void), { startImmediately: true })
          yield* pass(20_000)
          yield* Fiber.join(closing)
          yield* settled
          assert.deepStrictEqual(seen, Array.from({ length: 30 }, (_, i) => i))
          assert.strictEqual(mostRunning, 1)
        }).pipe(
          Effect.scoped,
          Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layerWith({ version })))),
          Effect.provide(logging([]))
        ))
    })
  }
}
