import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import * as Demo from "./support/Demo.ts"

const args = ["--count", "600", "--interval", "4 millis"]

const isSound = ({ exitCode, lastLine, stdout }: Demo.Ending) => {
  assert.strictEqual(exitCode, 0, stdout.join("\n"))
  assert.strictEqual(lastLine, "published 600, handled 600, lost 0, out of order 0")
  assert.includeMembers([...stdout], ["ada joins", "bob joins", "cleo joins", "bob is killed", "dora joins"])
  assert.isTrue(stdout.some((line) => /^0:\w+ 1:\w+ .* 11:\w+$/.test(line)), stdout.join("\n"))
}

describe("demo:partitions", () => {
  it.live("shows who has which partition, and loses nothing and no order on the embedded broker", () =>
    Effect.map(Demo.run([...args, "--embedded"], {}, "partitions.ts"), isSound))
})

describeWithSharedBroker("demo:partitions, before RabbitMQ", () => {
  it.live("loses nothing and no order with worker processes, one of which is killed by kill -9", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      isSound(yield* Demo.run(args, { AMQP_URL: url }, "partitions.ts"))
    }))
})
