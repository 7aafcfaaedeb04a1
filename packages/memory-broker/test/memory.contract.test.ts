import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Memory from "./contract/memory.ts"
import { runSuites } from "./contract/run.ts"
import { suites } from "./contract/suites.ts"

for (const version of ["3.10", "4.0", "4.3"] as const) {
  describe(`the contract, on the memory broker as RabbitMQ ${version}`, () => {
    runSuites(() => `the memory broker as RabbitMQ ${version}`, suites, (statement, body) => {
      it.effect(statement, () => Effect.provide(Effect.scoped(body), Memory.layer(version)))
    })
  })
}
