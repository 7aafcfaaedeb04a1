import { assert, describe, it } from "@effect/vitest"
import { AmqpError, PublishError } from "effect-amqp"
import { readFileSync } from "node:fs"
import path from "node:path"
import { pages, workspace } from "../src/Site.ts"

const page = readFileSync(path.join(pages, "troubleshooting.md"), "utf8")

/** The part of the page below a heading, up to the next one of its level. */
const below = (text: string, heading: string): string => {
  const level = /^#+/.exec(heading)![0]
  const start = text.indexOf(`\n${heading}\n`)
  if (start === -1) return ""
  const rest = text.slice(start + heading.length + 2)
  const end = rest.search(new RegExp(`^#{1,${level.length}} `, "m"))
  return end === -1 ? rest : rest.slice(0, end)
}

const sourceOf = (module: string): string =>
  readFileSync(path.join(workspace, "packages/amqp/src", `${module}.ts`), "utf8").replace(/[`"] \+\s*[`"]/g, "")

const modules = { AmqpError, PublishError }

/** The reasons of an error are the members of its closed set. */
const reasonsOf = (module: "AmqpError" | "PublishError"): ReadonlyArray<string> => {
  const union = new RegExp(`export type ${module}Reason =\\n([^]*?)\\n\\n`).exec(sourceOf(module))![1]!
  return [...union.matchAll(/\| (\w+)/g)].map((match) => match[1]!)
}

describe("troubleshooting", () => {
  for (const module of ["AmqpError", "PublishError"] as const) {
    const part = below(page, `## ${module}`)

    it.each(reasonsOf(module))(`has cause and remedy of %s of ${module}, and its text`, (reason) => {
      assert.property(modules[module], reason)
      const entry = below(part, `### ${reason}`)
      assert.match(entry, /^\*\*Cause\.\*\* \S/m)
      assert.match(entry, /^\*\*Remedy\.\*\* \S/m)
      const texts = [...entry.matchAll(/^> (.*)$/gm)].map((match) => match[1]!)
      assert.isAbove(texts.length, 0)
      for (const text of texts) {
        for (const piece of text.split("…").map((piece) => piece.trim()).filter((piece) => /\w{3}/.test(piece))) {
          assert.include(sourceOf("AmqpError") + sourceOf("PublishError"), piece)
        }
      }
    })

    it(`has no reason that ${module} has not`, () => {
      const headings = [...part.matchAll(/^### (\w+)$/gm)].map((match) => match[1]!)
      assert.sameMembers(headings, [...reasonsOf(module)])
    })
  }

  it("has every failure of a call in the guide to RPC", () => {
    const source = readFileSync(path.join(workspace, "packages/rpc/src/CallError.ts"), "utf8")
    const failures = /export type CallFailure = (.*)\n/.exec(source)![1]!.split(" | ")
    const guide = readFileSync(path.join(pages, "guides/rpc.md"), "utf8")
    assert.sameMembers([...guide.matchAll(/^\| `(\w+)` +\|/gm)].map((match) => match[1]!), failures)
  })
})
