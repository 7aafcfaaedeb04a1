import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import { fileURLToPath } from "node:url"
import { packages } from "../oxlint.config.ts"

const workspace = fileURLToPath(new URL("..", import.meta.url))

/** The modules of a package, without their extension, by their path in its sources. */
const modulesOf = (source: string): ReadonlyArray<string> =>
  readdirSync(path.join(workspace, source), { encoding: "utf8", recursive: true })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.slice(0, -".ts".length))

const isOn = (part: string, module: string): boolean =>
  part === "*"
    ? /^internal\/[^/]+$/.test(module)
    : part.endsWith("/")
    ? module.startsWith(`internal/${part}`)
    : module === part || module === `internal/${part}`

interface Finding {
  readonly file: string
  readonly code: string
  readonly line: number
}

/** Lint a copy of the sources to which modules were added, and say what is found. */
const lintWith = async (planted: Readonly<Record<string, string>>): Promise<ReadonlyArray<Finding>> => {
  const copy = mkdtempSync(path.join(tmpdir(), "effect-amqp-lint-"))
  try {
    for (const { source } of packages) {
      cpSync(path.join(workspace, source), path.join(copy, source), { recursive: true })
    }
    for (const file of ["oxlint.config.ts", "package.json", "tsconfig.base.json"]) {
      cpSync(path.join(workspace, file), path.join(copy, file))
    }
    symlinkSync(path.join(workspace, "node_modules"), path.join(copy, "node_modules"))
    for (const [file, text] of Object.entries(planted)) {
      mkdirSync(path.dirname(path.join(copy, file)), { recursive: true })
      writeFileSync(path.join(copy, file), text)
    }
    const oxlint = path.join(workspace, "node_modules/oxlint/bin/oxlint")
    const report = await new Promise<string>((resolve) => {
      execFile(
        process.execPath,
        [oxlint, "--format", "json"],
        { cwd: copy, maxBuffer: 2 ** 28 },
        (_, out) => resolve(out)
      )
    })
    const { diagnostics } = JSON.parse(report) as {
      readonly diagnostics: ReadonlyArray<{
        readonly filename: string
        readonly code: string
        readonly labels: ReadonlyArray<{ readonly span: { readonly line: number } }>
      }>
    }
    return diagnostics.map(({ code, filename, labels }) => ({ file: filename, code, line: labels[0]?.span.line ?? 0 }))
  } finally {
    rmSync(copy, { recursive: true })
  }
}

const arrowTo = (file: string, target: string): string => {
  const to = path.relative(path.dirname(file), target)
  return `export type * from "${to.startsWith(".") ? to : `./${to}`}"\n`
}

/** A module of a part of a floor, which need not exist. */
const moduleOf = (source: string, part: string): string =>
  part === "*" || part.endsWith("/")
    ? `${source}/internal/${part.replace("*", "")}planted.ts`
    : `${source}/${/^[A-Z]|^index$/.test(part) ? "" : "internal/"}${part}.ts`

describe("lint", () => {
  it.each(packages)("every module of $source stands on one floor, and no floor names another", ({ floors, source }) => {
    const named = floors.flat().filter((part) => part !== "*")
    const modules = modulesOf(source)
    for (const module of modules) {
      const on = named.filter((part) => isOn(part, module))
      const isOnGround = on.length === 0 && isOn("*", module)
      assert.isTrue(on.length === 1 || isOnGround, `${source}/${module}.ts stands on ${on.join(", ") || "no floor"}`)
    }
    assert.deepStrictEqual(named.filter((part) => !modules.some((module) => isOn(part, module))), [])
  })

  it("finds nothing in the sources as they are", async () => {
    assert.deepStrictEqual(await lintWith({}), [])
  })

  it.each(packages)("turns red on an import from any floor of $source to any above it", async ({ floors, source }) => {
    const planted = floors.flatMap((floor, index) =>
      floor.map((part) => {
        const file = moduleOf(source, part)
        const above = floors.slice(index + 1).flat().map((part) => moduleOf(source, part))
        return { file, above, text: above.map((target) => arrowTo(file, target)).join("") }
      })
    )
    const found = await lintWith(Object.fromEntries(planted.map(({ file, text }) => [file, text])))
    for (const { above, file } of planted) {
      const seen = found.filter((finding) => finding.file === file && finding.code === "eslint(no-restricted-imports)")
      const lines = new Set(seen.map(({ line }) => line))
      const unseen = above.filter((_, i) => !lines.has(i + 1))
      assert.deepStrictEqual(unseen, [], `wrong arrows from ${file} that lint does not see`)
    }
  })

  it("turns red on a circle that only types close", async () => {
    const room = "packages/amqp/src/internal/wire"
    const found = await lintWith({
      [`${room}/one.ts`]: `import type { Two } from "./two.ts"\nexport interface One { readonly two: Two }\n`,
      [`${room}/two.ts`]: `import type { One } from "./one.ts"\nexport interface Two { readonly one: One }\n`
    })
    assert.sameMembers(found.map(({ code, file }) => `${file} ${code}`), [
      `${room}/one.ts import(no-cycle)`,
      `${room}/two.ts import(no-cycle)`
    ])
  })

  it.each([
    ["packages/amqp/src/internal/publisher/planted.ts", `export * from "amqplib"\n`],
    ["packages/amqp/src/AmqpDriver.ts", `export * from "./AmqplibDriver.ts"\n`],
    ["packages/amqp/src/internal/connection/planted.ts", `export * from "../amqplib/errors.ts"\n`],
    ["packages/amqp/src/internal/connection/planted.ts", `export * from "effect-amqp-memory/AmqpMemory"\n`],
    ["packages/memory-broker/src/internal/planted.ts", `export * from "amqplib"\n`],
    ["packages/memory-broker/src/internal/planted.ts", `export * from "effect-amqp/AmqpConnection"\n`]
  ])("turns red on %s: %s", async (file, text) => {
    const found = await lintWith({ [file]: text })
    assert.isTrue(
      found.some((finding) => finding.file === file && finding.code === "eslint(no-restricted-imports)"),
      JSON.stringify(found)
    )
  })

  it("lets the adapter import amqplib", async () => {
    assert.deepStrictEqual(
      await lintWith({ "packages/amqp/src/internal/amqplib/planted.ts": `export { connect } from "amqplib"\n` }),
      []
    )
  })
})
