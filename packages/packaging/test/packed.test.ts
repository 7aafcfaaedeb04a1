import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Subprocess from "effect-amqp-test-rig/Subprocess"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import type { TestContext } from "vitest"
import { afterAll } from "vitest"
import * as Example from "../src/Example.ts"
import * as FreshProject from "../src/FreshProject.ts"
import * as PackCheck from "../src/PackCheck.ts"
import * as Program from "../src/Program.ts"
import * as Published from "../src/Published.ts"
import * as Supported from "../src/Supported.ts"

const temporary = mkdtempSync(path.join(tmpdir(), "effect-amqp-packed-"))
afterAll(() => rmSync(temporary, { recursive: true }))

/** Runs an effect when it is first asked for; what fails fails everyone who asks. */
const once = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  let result: Promise<A> | undefined
  return Effect.promise(() => result ??= Effect.runPromise(effect))
}

const tarballs = once(
  Effect.forEach(Published.all, (published) =>
    Effect.map(PackCheck.check(published, temporary), (report) => ({
      published,
      report,
      file: path.join(temporary, `${report.name}-${report.version}.tgz`)
    })))
)

const npmProject = once(
  Effect.flatMap(
    tarballs,
    (tarballs) => FreshProject.make("npm", path.join(temporary, "npm"), tarballs, { toDevelop: true })
  )
)
const pnpmProject = once(
  Effect.flatMap(
    tarballs,
    (tarballs) => FreshProject.make("pnpm", path.join(temporary, "pnpm"), tarballs, { toDevelop: false })
  )
)

/** A runtime that is not in this workspace; a test whose runtime cannot be had is skipped, and says why. */
const runtime = (name: string, version: string) => {
  const installed = once(Effect.result(FreshProject.install(name, version, path.join(temporary, `${name}-${version}`))))
  return Effect.fnUntraced(function*(context: TestContext) {
    const answer = yield* installed
    if (answer._tag === "Success") return answer.success
    const reason = `${name} ${version} cannot be installed: ${answer.failure.message}`
    process.stderr.write(`SKIPPED ${context.task.name}: ${reason}\n`)
    return context.skip(reason)
  })
}

const runtimes = {
  node: runtime("node", Supported.runtimes.node),
  bun: runtime("bun", Supported.runtimes.bun),
  deno: runtime("deno", Supported.runtimes.deno)
}

/** The programs that the README of the package shows, or the one of the repository. */
const readmePrograms = Example.programs.filter(({ text }) =>
  ["README.md", "packages/amqp/README.md", "packages/rpc/README.md"].some((file) =>
    readFileSync(path.join(Published.workspace, file), "utf8").includes(text)
  )
)

// Three at once, because most of them wait most of the time.
const runAll = Effect.fnUntraced(function*(directory: string, command: readonly [string, ...ReadonlyArray<string>]) {
  assert.isAbove(readmePrograms.length, 3)
  yield* Effect.forEach(readmePrograms, ({ name }) =>
    Effect.map(
      Program.run({ command: [...command, FreshProject.wrapped(name)], directory }, Example.expectations[name]!),
      ({ output, problems }) => assert.deepStrictEqual(problems, [], `${name}: ${output}`)
    ), { concurrency: 3, discard: true })
})

const tsc = Effect.fnUntraced(function*(directory: string, options: Readonly<Record<string, unknown>>) {
  const config = path.join(directory, `tsconfig.${String(options["module"])}.json`)
  writeFileSync(
    config,
    JSON.stringify({
      compilerOptions: {
        target: "es2022",
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        noEmit: true,
        types: ["node"],
        ...options
      },
      files: [...Example.all.map(({ name }) => name), "modules.ts"]
    })
  )
  yield* Subprocess.run({ program: "node_modules/.bin/tsc", args: ["-p", config] }, { directory })
})

describe("the tarball of", () => {
  it.live.each(Published.all)(
    "$manifest.name has what it needs, no more, and types that resolve",
    (published) =>
      Effect.gen(function*() {
        const { report } = (yield* tarballs).find((tarball) => tarball.published === published)!
        assert.deepStrictEqual(report.problems, [])
        assert.isAbove(report.tarball.files.size, 20)
      })
  )
})

describe("a fresh project that installs the tarballs", () => {
  it.live("with pnpm runs the programs of the README on the Node of this workspace", () =>
    Effect.gen(function*() {
      yield* runAll(yield* pnpmProject, [process.execPath])
    }))

  it.live(`with npm runs them on Node ${Supported.runtimes.node}`, (context) =>
    Effect.gen(function*() {
      const { program, version } = yield* runtimes.node(context)
      assert.isTrue(version.startsWith(`v${Supported.runtimes.node}.`), version)
      yield* runAll(yield* npmProject, [program])
    }))

  it.live("runs them on Bun", (context) =>
    Effect.gen(function*() {
      const { program } = yield* runtimes.bun(context)
      yield* runAll(yield* npmProject, [program])
    }))

  it.live("runs them on Deno", (context) =>
    Effect.gen(function*() {
      const { program } = yield* runtimes.deno(context)
      yield* runAll(yield* npmProject, [program, "run", "--allow-all", "--node-modules-dir=manual"])
    }))

  it.live.each([
    { module: "nodenext" },
    { module: "esnext", moduleResolution: "bundler" }
  ])(
    "has types for every module and example: $module, strict, exactOptionalPropertyTypes",
    (options) =>
      Effect.gen(function*() {
        const directory = yield* npmProject
        const modules = Published.all.flatMap((
          published
        ) => [
          published.manifest.name,
          ...Published.modulesOf(published).map((name) => `${published.manifest.name}/${name}`)
        ])
        writeFileSync(
          path.join(directory, "modules.ts"),
          modules.map((module, i) => `export type * as Module${i} from "${module}"\n`).join("")
        )
        yield* tsc(directory, options)
      })
  )

  it.live("runs the test of the README", () =>
    Effect.gen(function*() {
      yield* Subprocess.run(
        { program: "node_modules/.bin/vitest", args: ["run"] },
        { directory: yield* npmProject }
      )
    }))

  it.live("is CommonJS, and loads every module by require", () =>
    Effect.gen(function*() {
      const directory = yield* npmProject
      const modules = Published.all.flatMap((published) =>
        Published.modulesOf(published).map((name) => `${published.manifest.name}/${name}`)
      )
      writeFileSync(
        path.join(directory, "common.cjs"),
        `const modules = ${JSON.stringify(modules)}
const empty = modules.filter((name) => Object.keys(require(name)).length === 0)
const { AmqpPublisher } = require("effect-amqp")
console.log(modules.length - empty.length, typeof AmqpPublisher.layer)
`
      )
      const output = yield* Subprocess.run({ program: process.execPath, args: ["common.cjs"] }, { directory })
      const [loaded, type] = output.trim().split(" ")
      assert.isAbove(Number(loaded), 15)
      assert.strictEqual(type, "function")
    }))

  it.live("is bundled by esbuild, by the command of the README", () =>
    Effect.gen(function*() {
      const directory = yield* npmProject
      const readme = readFileSync(path.join(Published.workspace, "packages/amqp/README.md"), "utf8")
      const command = /^ {4}npx (esbuild (?:.*\\\n)*.*)$/m.exec(readme)?.[1]
      assert.isDefined(command)
      yield* Subprocess.run(
        { program: "sh", args: ["-c", `node_modules/.bin/${command!.replace("publish.ts", "embedded.publish.ts")}`] },
        { directory }
      )
      const { output, problems } = yield* Program.run(
        { command: [process.execPath, "publish.mjs"], directory },
        Example.expectations["publish.ts"]!
      )
      assert.deepStrictEqual(problems, [], output)
    }))
})
