import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const tsc = fileURLToPath(new URL("../../../../node_modules/.bin/tsc", import.meta.url))

describe("the published declarations", () => {
  it("hold nothing that is marked @internal", () => {
    const out = mkdtempSync(join(tmpdir(), "effect-amqp-declarations-"))
    try {
      execFileSync(tsc, [
        "-p",
        join(root, "tsconfig.src.json"),
        "--emitDeclarationOnly",
        "--outDir",
        out,
        "--tsBuildInfoFile",
        join(out, ".tsbuildinfo")
      ], { cwd: root })
      const files = readdirSync(out).filter((name) => name.endsWith(".d.ts"))
      assert.include(files, "AmqpConnection.d.ts")
      for (const file of files) assert.notInclude(readFileSync(join(out, file), "utf8"), "@internal", file)
      const service = readFileSync(join(out, "internal/connection/service.d.ts"), "utf8")
      const connection = service.slice(service.indexOf("export interface AmqpConnection"))
      assert.include(connection, "health")
      assert.notInclude(connection.slice(0, connection.indexOf("\n}")), "withSession")
      assert.notMatch(readFileSync(join(out, "AmqpDelivery.d.ts"), "utf8"), /isSettled/)
    } finally {
      rmSync(out, { recursive: true })
    }
  })
})
