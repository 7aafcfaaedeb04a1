/**
 * A group of contract tests, by the statement that each of them makes.
 */
import type { Effect, Scope } from "effect"
import type { Broker } from "./Broker.ts"

export type ContractTest = Effect.Effect<unknown, unknown, Broker | Scope.Scope>

export interface Suite {
  readonly about: string
  readonly tests: Readonly<Record<string, ContractTest>>
}

export const suite = (about: string, tests: Readonly<Record<string, ContractTest>>): Suite => ({ about, tests })

/** One test for each row of a table. */
export const rows = <Row>(
  table: ReadonlyArray<Row>,
  test: (row: Row) => readonly [statement: string, body: ContractTest]
): Readonly<Record<string, ContractTest>> => Object.fromEntries(table.map(test))
