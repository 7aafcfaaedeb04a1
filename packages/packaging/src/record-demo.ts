/**
 * `npx pnpm@12 demo:record`: runs the demo, and writes what it said, when it said it, into docs/demo.svg.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
import path from "node:path"
import * as Picture from "./Picture.ts"
import { workspace } from "./Published.ts"

const args = ["--count", "40"]

const lines = Effect.callback<ReadonlyArray<Picture.Line>>((resume) => {
  const lines: Array<Picture.Line> = []
  const demo = path.join(workspace, "packages/example/src/main.ts")
  const child = spawn(process.execPath, ["--import", "tsx", demo, ...args], {
    cwd: workspace,
    env: { ...process.env, AMQP_URL: undefined },
    stdio: ["ignore", "pipe", "inherit"]
  })
  let begin: number | undefined
  let rest = ""
  child.stdout.on("data", (chunk: Buffer) => {
    begin ??= performance.now()
    const parts = (rest + chunk.toString()).split("\n")
    rest = parts.pop()!
    for (const text of parts) lines.push({ text, atMillis: Math.round(performance.now() - begin) })
  })
  child.once("close", (code) => resume(code === 0 ? Effect.succeed(lines) : Effect.die(new Error(`code ${code}`))))
})

const program = Effect.gen(function*() {
  const picture = Picture.draw(`npx pnpm@12 demo ${args.join(" ")}`, yield* lines)
  writeFileSync(path.join(workspace, "docs/demo.svg"), picture)
  yield* Console.log(`docs/demo.svg: ${picture.length} bytes`)
})

NodeRuntime.runMain(program)
