import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import * as Demo from "./support/Demo.ts"

describe("demo:redrive", () => {
  it.live("moves what was parked back in bulk, and every message is handled", () =>
    Effect.gen(function*() {
      const { exitCode, lastLine, stdout } = yield* Demo.run(["--count", "40"], {}, "redrive.ts")
      assert.strictEqual(exitCode, 0, stdout.join("\n"))
      assert.strictEqual(lastLine, "parked 40, moved 40, handled 40, lost 0")
    }))
})

describeWithSharedBroker("demo:redrive, before RabbitMQ", () => {
  it.live("loses no message of the broker that AMQP_URL names", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      const { exitCode, lastLine, stdout } = yield* Demo.run(["--count", "40"], { AMQP_URL: url }, "redrive.ts")
      assert.strictEqual(exitCode, 0, stdout.join("\n"))
      assert.strictEqual(lastLine, "parked 40, moved 40, handled 40, lost 0")
    }))
})
