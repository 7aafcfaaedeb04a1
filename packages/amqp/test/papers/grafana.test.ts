import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../../../..")

const dashboard = JSON.parse(readFileSync(join(root, "docs/grafana/effect-amqp.json"), "utf8")) as {
  readonly panels: ReadonlyArray<{ readonly targets: ReadonlyArray<{ readonly expr: string }> }>
}

/** The names of the metrics in the code, as Prometheus writes them. */
const known = new Set(
  globSync("packages/amqp/src/**/*.ts", { cwd: root }).flatMap((file) =>
    Array.from(
      readFileSync(join(root, file), "utf8").matchAll(/Metric\.(?:counter|gauge|histogram)\("([^"]+)"/g),
      ([, name]) => name!.replaceAll(".", "_")
    )
  )
)

const asked = new Set(
  dashboard.panels.flatMap(({ targets }) =>
    targets.flatMap(({ expr }) =>
      expr.replaceAll(/by \([^)]*\)/g, "").match(/\b(?:amqp|messaging)_[a-z_]+(?=[[{)]|$)/g) ?? []
    )
  )
)

/** A name without what the exporters put behind it: the kind, and the unit. */
const bare = (name: string): string =>
  name.replace(/_(total|bucket|sum|count)$/, "").replace(/_(seconds|milliseconds)$/, "")

describe("the Grafana dashboard", () => {
  it("asks for metrics that the code has", () => {
    assert.isAbove(asked.size, 10)
    assert.deepStrictEqual([...asked].filter((name) => !known.has(bare(name))), [])
  })

  it("shows every metric that the code has", () => {
    const shown = new Set([...asked].map(bare))
    assert.deepStrictEqual([...known].filter((name) => !shown.has(name)), [])
  })
})
