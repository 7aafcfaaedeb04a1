import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { vi } from "vitest"
import * as Examples from "../src/Examples.ts"
import * as Runner from "./support/Runner.ts"

vi.mock("@effect/platform-node", async (original) => ({
  ...await original<object>(),
  NodeRuntime: { runMain: Runner.runMain }
}))

Examples.write(Examples.all)

describe("the examples of the doc comments", async () => {
  it("compile", async () => {
    assert.isAbove(Examples.all.length, 80)
    assert.deepStrictEqual(await Examples.faultsOf(Examples.all), [])
  })

  for (const example of Examples.all.filter(({ isLine }) => !isLine)) {
    // A file of tests adds its own here.
    if (example.code.includes("\"@effect/vitest\"")) {
      describe(Examples.placeOf(example), () => import(Examples.fileOf(example)))
    } else {
      it(`${Examples.placeOf(example)} can be loaded`, () => import(Examples.fileOf(example)))
    }
  }

  it.effect.each(
    Examples.all.filter(({ isLine }) => isLine).map((example) => [Examples.placeOf(example), example] as const)
  )(
    "%s runs on the embedded broker",
    ([, example]) =>
      Effect.flatMap(
        Effect.promise<{ readonly example: Effect.Effect<void> }>(() => import(Examples.fileOf(example))),
        ({ example }) => example
      ).pipe(Effect.provide(AmqpMemory.layer))
  )
})

describe("an example", () => {
  it("is named by file, line and export, in a block and beside its tag", () => {
    const module = [
      "/** Sums. */",
      "/**",
      " * Adds.",
      " *",
      " * @example",
      " * ```ts",
      " * const two = add(1, 1)",
      " * ```",
      " */",
      "export const add = (a: number, b: number): number => a + b",
      "export interface Service {",
      "  /**",
      "   * @example yield* broker.crash",
      "   */",
      "  readonly crash: Effect.Effect<void>",
      "}"
    ].join("\n")
    assert.deepStrictEqual(Examples.examplesIn("math.ts", module), [
      { module: "math.ts", line: 7, name: "add", code: "const two = add(1, 1)\n", isLine: false },
      { module: "math.ts", line: 13, name: "crash", code: "yield* broker.crash", isLine: true }
    ])
  })

  it("without code is refused", () => {
    assert.throws(
      () => Examples.examplesIn("math.ts", "\n/**\n * @example\n * add(1, 1)\n */\nexport const add = 1"),
      "math.ts:3 add: @example has no code"
    )
  })

  it("in back quotes is refused, because editors show them inside of a block of code", () => {
    assert.throws(
      () => Examples.examplesIn("math.ts", "\n/**\n * @example `add(1, 1)`\n */\nexport const add = 1"),
      "math.ts:3 add: @example has code as it is, without back quotes"
    )
  })
})
