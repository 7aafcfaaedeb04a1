import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { spawn } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import path from "node:path"
import { pages, website } from "../src/Site.ts"

const folder = path.join(pages, "coming-from")
const names = readdirSync(folder).map((file) => file.slice(0, -".md".length))
const textOf = (name: string): string => readFileSync(path.join(folder, `${name}.md`), "utf8")

/** The programs of a page, by the names of their files. */
const programsOf = (name: string): ReadonlyMap<string, string> =>
  new Map(Array.from(
    textOf(name).matchAll(/^```[jt]s \[([\w.-]+)\]\n(.*?)^```$/gms),
    ([, file, code]) => [file!, code!]
  ))

/** Why the program before is not run: its packages cannot be had from npm. */
const isOutline = (name: string): boolean => textOf(name).includes("not run")

/** Runs a program of a page on a broker until it has said something, and ends it. */
const run = Effect.fnUntraced(function*(name: string, file: string, url: string, says: string) {
  const directory = path.join(website, "dist/coming-from", name)
  mkdirSync(directory, { recursive: true })
  // Decorators of the kind that Nest has are TypeScript's, so the JavaScript of a page is run as TypeScript.
  const program = path.join(directory, file.replace(/^(.*)\.js$/, "$1.before.ts"))
  writeFileSync(program, programsOf(name).get(file)!)
  writeFileSync(
    path.join(directory, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { experimentalDecorators: true, target: "es2022", module: "nodenext" } })
  )
  yield* Effect.callback<void>((resume) => {
    const child = spawn(process.execPath, ["--import", "tsx", program], {
      cwd: directory,
      env: { ...process.env, AMQP_URL: url },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString()
        // A consumer goes on until it is told to end; what is acknowledged is written by then.
        if (file.startsWith("consume") && output.includes(says)) setTimeout(() => child.kill("SIGTERM"), 100)
      })
    }
    child.once("close", (code, signal) =>
      resume(
        output.includes(says)
          ? Effect.void
          : Effect.die(new Error(`${file} of ${name} did not say "${says}", ended with ${signal ?? code}:\n${output}`))
      ))
    return Effect.sync(() => child.kill("SIGKILL"))
  }).pipe(Patience.within(`${file} of ${name} says "${says}" and ends`))
})

describe.each(names)("the page for those who come from %s", (name) => {
  const page = textOf(name)

  it("has a table of concepts, a before and an after, what behaves differently, and both on one queue", () => {
    assert.match(page, /^\| In .+ \| Here +\|$/m)
    assert.match(page, /^Before/m)
    assert.match(page, /^After:$/m)
    assert.match(page, /^## What behaves differently$/m)
    assert.match(page, /^## Both on one queue$/m)
  })

  it("says of each program before that it is run, or that it is not", () => {
    const before = [...programsOf(name).keys()].filter((file) => file.endsWith(".js"))
    assert.deepStrictEqual(before, isOutline(name) ? [] : ["publish.js", "consume.js"])
    if (!isOutline(name)) assert.match(page, /[Aa] test runs `publish\.js` against\s+`consume\.ts`/)
  })
})

describeWithSharedBroker("both on one queue", () => {
  for (const name of names.filter((name) => !isOutline(name))) {
    it.live.each([
      ["publish.js", "consume.ts"],
      ["publish.ts", "consume.js"]
    ])(`${name}: what %s publishes, %s handles`, ([publish, consume]) =>
      Effect.gen(function*() {
        const { url } = yield* SharedRabbitMq.make
        yield* run(name, publish!, url, "RabbitMQ has order 42")
        yield* run(name, consume!, url, "order 42")
      }))
  }
})
