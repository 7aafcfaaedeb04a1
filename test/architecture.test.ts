import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import path from "node:path"
import { fileURLToPath } from "node:url"
import { packages } from "../oxlint.config.ts"

const workspace = fileURLToPath(new URL("..", import.meta.url))
const read = (file: string): string => readFileSync(path.join(workspace, file), "utf8")
const page = read("docs/architecture.md")

describe("docs/architecture.md", () => {
  it("lists the floors as lint holds them", () => {
    const floors = packages.find(({ source }) => source === "packages/amqp/src")!.floors
    assert.include(page, floors.map((floor) => `    ${floor.join(", ")}`).join("\n"))
  })

  it("names modules that exist", () => {
    const walks = page.slice(page.indexOf("## The walks"), page.indexOf("### Counted"))
    const modules = [...walks.matchAll(/`([\w/]+\.ts)`/g)].map(([, module]) => module!)
    assert.isAbove(modules.length, 40)
    const missing = modules.filter((module) => !existsSync(path.join(workspace, "packages/amqp/src", module)))
    assert.deepStrictEqual(missing, [])
  })

  it("names a test that exists for each of the fifteen invariants", () => {
    const invariants = page.slice(page.indexOf("## The invariants")).split(/^\d+\. /m).slice(1)
    assert.lengthOf(invariants, 15)
    for (const invariant of invariants) {
      const named = [...invariant.matchAll(/^ +- `([^`]+)`: (.+)$/gm)]
      assert.isAbove(named.length, 0, invariant)
      for (const [, file, title] of named) assert.include(read(file!), title!, file)
    }
  })
})
