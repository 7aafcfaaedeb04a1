import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import * as PackCheck from "../src/PackCheck.ts"
import * as Published from "../src/Published.ts"

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(path.join(tmpdir(), "effect-amqp-packed-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

describe("the tarball of", () => {
  it.live.each(Published.all)(
    "$manifest.name has what it needs, no more, and types that resolve",
    (published) =>
      Effect.gen(function*() {
        const { problems, tarball } = yield* PackCheck.check(published, yield* temporaryFolder)
        assert.deepStrictEqual(problems, [])
        assert.isAbove(tarball.files.size, 100)
      })
  )
})
