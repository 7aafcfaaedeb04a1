/**
 * `npx pnpm@12 pack:check`: packs every published package, and lets publint, arethetypeswrong and a list of its own
 * look at the tarball.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import * as PackCheck from "./PackCheck.ts"
import * as Published from "./Published.ts"

class Refused extends Data.TaggedError("Refused") {
  override readonly [Runtime.errorReported] = false
}

const program = Effect.gen(function*() {
  const destination = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(path.join(tmpdir(), "effect-amqp-pack-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )
  let problems = 0
  for (const published of Published.all) {
    const report = yield* PackCheck.check(published, destination)
    yield* Console.log(PackCheck.render(report))
    problems += report.problems.length
  }
  yield* Console.log(`${Published.all.length} packages, ${problems} problems`)
  if (problems > 0) return yield* new Refused()
})

program.pipe(Effect.scoped, NodeRuntime.runMain)
