/**
 * Runs the contract against one broker, and says how many of its tests ran.
 */
import { describe } from "@effect/vitest"
import { Effect } from "effect"
import { afterAll } from "vitest"
import type { ContractTest, Suite } from "./Suite.ts"

export const runSuites = (
  broker: () => string,
  suites: ReadonlyArray<Suite>,
  test: (statement: string, body: ContractTest) => void
): void => {
  let ran = 0
  const counted = (body: ContractTest): ContractTest => Effect.tap(body, () => Effect.sync(() => ran++))
  for (const { about, tests } of suites) {
    describe(about, () => {
      for (const [statement, body] of Object.entries(tests)) test(statement, counted(body))
    })
  }
  afterAll(() => {
    process.stdout.write(`contract suite: ${ran} tests passed on ${broker()}\n`)
  })
}
