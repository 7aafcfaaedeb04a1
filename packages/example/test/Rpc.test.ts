import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Demo from "./support/Demo.ts"

describe("demo:rpc", () => {
  it.live("answers every call, although a server is killed under calls and a stream", () =>
    Effect.gen(function*() {
      const { exitCode, lastLine, stdout } = yield* Demo.run(["--count", "60"], {}, "rpc.ts")
      assert.strictEqual(exitCode, 0, stdout.join("\n"))
      assert.strictEqual(lastLine, "called 60, answered 60, failed 0", stdout.join("\n"))
      assert.include(stdout, "killed server one")
    }))
})
