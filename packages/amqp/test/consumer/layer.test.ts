import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schedule } from "effect"
import { AmqpConsumer } from "effect-amqp"
import { settled } from "effect-amqp-test-rig/VirtualTime"
import { consumers, onMemory, send, work } from "../support/Consuming.ts"

describe("AmqpConsumer.layer", () => {
  it.effect("a layer consumes with the services of its handler until it is released", () => {
    const Invoices = Context.Service<{ readonly create: (text: string) => Effect.Effect<void> }>("Invoices")
    const created: Array<string> = []
    const InvoiceWorker = AmqpConsumer.layer(
      work,
      Effect.fnUntraced(function*(delivery) {
        const invoices = yield* Invoices
        yield* invoices.create(yield* delivery.text)
      }),
      {
        prefetch: 100,
        concurrency: 10,
        onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
      }
    ).pipe(Layer.provide(Layer.succeed(Invoices, { create: (text) => Effect.sync(() => void created.push(text)) })))
    return onMemory(Effect.gen(function*() {
      const launched = yield* Effect.forkChild(Layer.launch(InvoiceWorker), { startImmediately: true })
      yield* settled
      yield* send("a", "b")
      assert.deepStrictEqual(created, ["a", "b"])
      yield* Fiber.interrupt(launched)
      assert.deepStrictEqual(yield* consumers, [])
    }))
  })
})
