import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Simulation from "../src/partitions/Simulation.ts"

const size = { instances: 8, partitions: 80, keys: 1500, rounds: 6 }

describe("instances that share partitions while others join, leave, die and reconnect at random", () => {
  for (const seed of [1, 2, 3]) {
    it.live(`keep the order, keep to themselves, and share evenly, with the seed ${seed}`, () =>
      Effect.gen(function*() {
        const outcome = yield* Simulation.run({ ...size, seed })
        assert.deepInclude(outcome, { lost: 0, outOfOrder: 0, overlaps: 0 })
        assert.isAtLeast(outcome.published, size.keys)
        assert.isAtLeast(outcome.joins + outcome.leaves + outcome.deaths + outcome.reconnects, size.rounds)
        assert.isAtMost(outcome.largestShare, 2)
      }))
  }

  it.live("keep the order and keep to themselves where RabbitMQ 4.3 counts deliveries in its own way", () =>
    Effect.map(
      Simulation.run({ ...size, seed: 4, version: "4.3" }),
      (outcome) => {
        assert.deepInclude(outcome, { lost: 0, outOfOrder: 0, overlaps: 0 })
        assert.isAtMost(outcome.largestShare, 2)
      }
    ))

  it.live("keep the order and keep to themselves where RabbitMQ 3.10 hands nothing over to who joins", () =>
    Effect.map(
      Simulation.run({ ...size, seed: 5, version: "3.10" }),
      (outcome) => assert.deepInclude(outcome, { lost: 0, outOfOrder: 0, overlaps: 0 })
    ))

  it.live("are seen to break the order where their handlers may overtake one another", () =>
    Effect.map(
      Simulation.run({ ...size, seed: 1, control: true }),
      ({ outOfOrder }) => assert.isAbove(outOfOrder, 0)
    ))
})
