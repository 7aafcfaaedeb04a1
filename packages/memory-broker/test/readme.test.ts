import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { readdirSync, readFileSync } from "node:fs"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

describe("README.md", () => {
  const readme = read("../README.md")

  for (const file of readdirSync(new URL("examples", import.meta.url))) {
    it(`shows ${file} as it is run`, () => {
      assert.include(readme, `\`\`\`ts\n${read(`examples/${file}`)}\`\`\``)
    })
  }

  it.effect("names every lever and every inspection of the service", () =>
    Effect.gen(function*() {
      const service = yield* AmqpMemory.AmqpMemory
      for (const name of Object.keys(service)) assert.match(readme, new RegExp(`\`${name}[(\`]`), name)
    }).pipe(Effect.provide(AmqpMemory.layer)))
})

describe("the test in the README of the repository", () => {
  const invoices = AmqpTopology.queue("invoices")
  const App = {
    layer: AmqpPublisher.layer({ confirmTimeout: "5 seconds" }).pipe(
      Layer.provide(AmqpTopology.layer(AmqpTopology.make(invoices))),
      Layer.provide(AmqpConnection.layer())
    )
  }
  const placeOrder = (id: number) =>
    AmqpPublisher.AmqpPublisher.use((publisher) => publisher.publish({ routingKey: "invoices", body: { id } }))

  it.effect("an outage delays an invoice and loses none", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.cutConnections
      yield* broker.refuseConnects(3)
      const placing = yield* placeOrder(42).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(placing)
      assert.strictEqual(yield* broker.depth("invoices"), 1)
    }).pipe(Effect.provide(App.layer), Effect.provide(AmqpMemory.layer)))
})
