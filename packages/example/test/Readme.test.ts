import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { execFile } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"

const example = join(import.meta.dirname, "..")

describeWithSharedBroker("the smallest program of the README", () => {
  it.live("runs as it stands, and RabbitMQ has the message", () =>
    Effect.gen(function*() {
      const broker = yield* SharedRabbitMq.make
      const readme = yield* Effect.promise(() => readFile(join(example, "../../README.md"), "utf8"))
      const program = /## The smallest program\n\n```ts\n(.*?)```/s.exec(readme)?.[1]
      assert.isDefined(program, "the README must have a section with the smallest program")
      // Inside the package, so that its imports are found.
      const folder = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(example, "node_modules", "readme-"))),
        (folder) => Effect.promise(() => rm(folder, { recursive: true }))
      )
      const file = join(folder, "smallest.ts")
      yield* Effect.promise(() => writeFile(file, program!))
      const { stdout } = yield* Effect.promise(() =>
        promisify(execFile)(process.execPath, ["--import", "tsx", file], {
          cwd: example,
          env: { ...process.env, AMQP_URL: broker.url },
          timeout: 20_000
        })
      )
      assert.include(stdout, "RabbitMQ has it")
    }), 40_000)
})
