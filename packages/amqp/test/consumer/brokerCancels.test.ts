import { assert, describe, it } from "@effect/vitest"
import { Effect, Latch, Logger } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, send, work } from "../support/Consuming.ts"

/** What is logged as the reason when the broker cancels a consumer, while its handler runs or when that has ended. */
const reasonOfDetachment = (version: "4.0" | "4.3", isRunning: boolean) =>
  Effect.gen(function*() {
    const reasons: Array<string> = []
    const logger = Logger.make<unknown, void>(({ message }) => {
      const [text, fields] = message as readonly [string, { readonly reason?: string } | undefined]
      if (text === "AMQP consumer detached") reasons.push(String(fields?.reason))
    })
    const gate = Latch.makeUnsafe(!isRunning)
    const test = Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConsumer.make(work, () => gate.await)
      yield* send("a")
      yield* pass(100)
      yield* broker.cancelConsumers("work")
      yield* settled
      yield* gate.open
      yield* pass(1000)
    })
    yield* onMemory(test, AmqpMemory.layerWith({ version })).pipe(Effect.provide(Logger.layer([logger])))
    assert.strictEqual(reasons.length, 1)
    return reasons[0]!
  })

describe("the reason of a consumer that the broker cancelled", () => {
  it.effect("names the acknowledgement timeout on 4.3 while a message waits for its acknowledgement", () =>
    Effect.gen(function*() {
      assert.match(yield* reasonOfDetachment("4.3", true), /acknowledgement timeout/)
    }))

  it.effect("names the queue and its node on 4.3 while no message waits for its acknowledgement", () =>
    Effect.gen(function*() {
      const reason = yield* reasonOfDetachment("4.3", false)
      assert.match(reason, /the queue was deleted, or its node is down/)
      assert.notMatch(reason, /acknowledgement timeout/)
    }))

  it.effect("names the queue and its node on 4.0, which closes the channel for an acknowledgement timeout", () =>
    Effect.gen(function*() {
      const reason = yield* reasonOfDetachment("4.0", true)
      assert.match(reason, /the queue was deleted, or its node is down/)
      assert.notMatch(reason, /acknowledgement timeout/)
    }))
})
