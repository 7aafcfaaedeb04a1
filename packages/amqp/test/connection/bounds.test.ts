import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { AmqpChannel, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpConnection never hangs", () => {
  // Connecting twice, declaring, two channels, publish, get, ack, declare, and the goodbyes.
  const everything = Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    const channel = yield* AmqpChannel.AmqpChannel
    yield* publisher.publish({ exchange: Virtual.orders, routingKey: "paid", body: "x" })
    const delivery = yield* channel.get(Virtual.invoices)
    if (delivery._tag === "Some") yield* channel.ack(delivery.value)
    yield* channel.declareQueue({ name: "other" })
    yield* channel.purgeQueue("other")
  }).pipe(Effect.provide(Virtual.application({
    connection: { startup: { max: 0 }, retry: { interval: "1 second", max: 2 } }
  })))

  const steps = 60
  it.effect(
    "everything settles within its bounds when the broker stops answering after step k, for all k",
    () =>
      Effect.gen(function*() {
        let complete = 0
        for (let k = 0; k < steps; k++) {
          yield* Effect.gen(function*() {
            const broker = yield* AmqpMemory.AmqpMemory
            yield* broker.stopAnswering({ after: k })
            const running = yield* everything.pipe(Effect.exit, Effect.forkChild({ startImmediately: true }))
            yield* Virtual.settle
            // Start-up, two attempts at 10 s with their retries, publish, four operations and the goodbyes.
            yield* TestClock.adjust("4 minutes")
            const exit = running.pollUnsafe()
            assert.isDefined(exit, `still running 4 minutes after the broker stopped answering at step ${k}`)
            if (Exit.isSuccess(exit!) && Exit.isSuccess(exit.value)) complete++
            yield* broker.resumeAnswering
            yield* TestClock.adjust("1 second")
            assert.deepStrictEqual(yield* broker.leftovers, [], `left over after the broker stopped at step ${k}`)
          }).pipe(Effect.provide(AmqpMemory.layer, { local: true }))
        }
        assert.isAbove(complete, 0, `no run of the program was over within ${steps} steps: raise the number of steps`)
        assert.isBelow(complete, steps)
      }),
    60_000
  )

  it.effect("interrupting at any step leaves nothing behind", () =>
    Effect.gen(function*() {
      for (let k = 0; k < steps; k++) {
        yield* Effect.gen(function*() {
          const broker = yield* AmqpMemory.AmqpMemory
          yield* broker.stopAnswering({ after: k })
          const running = yield* everything.pipe(Effect.exit, Effect.forkChild({ startImmediately: true }))
          yield* TestClock.adjust("1 second")
          const interrupting = yield* Fiber.interrupt(running).pipe(Effect.forkChild({ startImmediately: true }))
          yield* TestClock.adjust("1 minute")
          assert.isDefined(interrupting.pollUnsafe(), `interruption still under way, silent since step ${k}`)
          yield* broker.resumeAnswering
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(yield* broker.leftovers, [], `left over after an interruption at step ${k}`)
        }).pipe(Effect.provide(AmqpMemory.layer, { local: true }))
      }
    }))
})
