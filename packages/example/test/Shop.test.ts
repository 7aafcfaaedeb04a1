import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import * as Demo from "./support/Demo.ts"

describe("demo:shop", () => {
  it.live("publishes by contract, handles every message and closes in order", () =>
    Effect.gen(function*() {
      const { exitCode, lastLine, stdout } = yield* Demo.run([], {}, "shop.ts")
      assert.strictEqual(exitCode, 0, stdout.join("\n"))
      assert.strictEqual(lastLine, "published 7, handled 7, failed 0")
      assert.includeMembers([...stdout], [
        "visitor GET /readyz answers 200",
        "worker  order 1 is handled: a teapot for 12.50",
        "worker  order 6 is handled: a jug for 8.50",
        "worker  order 5 is handled: a tray for 12.54, at attempt 2",
        "visitor POST /orders of nonsense answers 400",
        "shop    closed in order"
      ])
    }))

  it.live("stays open until SIGTERM, and closes in order", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.start(["--serve"], {}, "shop.ts")
      yield* demo.shows("shop    open at http://127.0.0.1:")
      yield* demo.signal("SIGTERM")
      const { exitCode, lastLine } = yield* demo.ending
      assert.strictEqual(exitCode, 130)
      assert.strictEqual(lastLine, "shop    closed in order")
    }))

  it.live("says in one sentence that its broker is not there", () =>
    Effect.gen(function*() {
      const { exitCode, stderr, stdout } = yield* Demo.run(["--url", "amqp://user:secret@127.0.0.1:1"], {}, "shop.ts")
      assert.strictEqual(exitCode, 1)
      assert.match(stdout.join("\n") + stderr, /127\.0\.0\.1:1 refused the connection/)
      assert.notMatch(stdout.join("\n") + stderr, /secret/)
    }))
})

describeWithSharedBroker("demo:shop, before RabbitMQ", () => {
  it.live("handles every message of the broker that AMQP_URL names", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      const { exitCode, lastLine, stdout } = yield* Demo.run([], { AMQP_URL: url }, "shop.ts")
      assert.strictEqual(exitCode, 0, stdout.join("\n"))
      assert.strictEqual(lastLine, "published 7, handled 7, failed 0")
      assert.include(stdout, "on the broker of --url or AMQP_URL")
    }))
})
