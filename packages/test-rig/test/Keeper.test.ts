import { assert, it } from "@effect/vitest"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync } from "node:fs"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"

const program = fileURLToPath(new URL("programs/startNode.ts", import.meta.url))

describeWithOwnNode("A node ends soon after its test process", () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
    it.live(`a node ends when its test process dies of ${signal}`, () =>
      Effect.gen(function*() {
        const child = spawn(process.execPath, [program], { stdio: ["ignore", "pipe", "inherit"] })
        yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
        const [line] = yield* Effect.promise(() => once(child.stdout, "data"))
        const node: { readonly pid: string; readonly home: string } = JSON.parse(String(line))
        assert.isTrue(isAlive(Number(node.pid)))

        child.kill(signal)
        yield* Patience.until(
          "the node and its directory are gone",
          Effect.sync(() => !isAlive(Number(node.pid)) && !existsSync(dirname(node.home)))
        )
      }))
  }
})

// A process that has ended keeps its number for as long as nobody asks how it went, and in a container nobody may.
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !existsSync("/proc") || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}
