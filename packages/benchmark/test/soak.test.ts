import { assert, it } from "@effect/vitest"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
import * as ConsumingSoak from "../src/soak/ConsumingSoak.ts"
import * as Faults from "../src/soak/faults.ts"
import * as Soak from "../src/soak/Soak.ts"

const load = { fault: "kill", queueType: "classic", rate: 5000 } as const

describeWithOwnNode("A short soak", () => {
  it.live("loses nothing that was confirmed through two kills of the broker", () =>
    Effect.gen(function*() {
      const outcome = yield* Soak.run({ ...load, cycles: 2, persistent: true })
      assert.isAbove(outcome.confirmed, 5000)
      assert.deepInclude(outcome, { lost: 0, unexpected: 0, notSettledOnce: 0, failed: {} })
    }))

  it.live(
    "would notice a loss: messages that are not persistent are lost with the broker",
    () =>
      Effect.gen(function*() {
        const outcome = yield* Soak.run({ ...load, cycles: 1, persistent: false })
        assert.isAbove(outcome.lost, 0)
        assert.isFalse(outcome.sound)
        assert.strictEqual(outcome.notSettledOnce, 0)
      })
  )

  it.live("has every confirmed message handled or parked by four consumers through a kill and a restart", () =>
    Effect.gen(function*() {
      const outcome = yield* ConsumingSoak.run({
        faults: [[1000, Faults.kill], [1000, Faults.restart]],
        queueType: "quorum",
        rate: 300,
        persistent: true,
        handlerMillis: 5
      })
      assert.isAbove(outcome.confirmed, 500)
      assert.deepInclude(outcome, { lost: 0, unexpected: 0, notSettledOnce: 0 })
    }))
})

it("the same seed gives the same random faults", () => {
  const names = (seed: number) => {
    const faults = Faults.random(seed)
    return Array.from({ length: 50 }, () => {
      const [pause, { name }] = faults.next().value
      return [pause, name]
    })
  }
  assert.deepStrictEqual(names(7), names(7))
  assert.notDeepEqual(names(7), names(8))
})
