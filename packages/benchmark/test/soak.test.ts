import { assert, it } from "@effect/vitest"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
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
})
