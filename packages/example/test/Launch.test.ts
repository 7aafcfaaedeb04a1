import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Demo from "./support/Demo.ts"

describe("a process whose worker AmqpConnection.launch runs", () => {
  it.live.each(
    [
      ["its broker is not there at start", "absent", /127\.0\.0\.1:1 refused the connection/],
      ["its connection is given up", "given-up", /gave up reconnecting after \d attempts/],
      ["its queue is gone", "queue-gone", /no queue 'invoices'|"invoices" does not exist/]
    ] as const
  )("exits with 1 and says why when %s", ([, how, says]) =>
    Effect.gen(function*() {
      const { exitCode, stderr, stdout } = yield* Demo.run([how], {}, "../test/support/launched.ts")
      assert.strictEqual(exitCode, 1)
      assert.match(stdout.join("\n") + stderr, says)
    }))
})
