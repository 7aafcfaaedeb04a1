import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Demo from "./support/Demo.ts"

const run = (args: ReadonlyArray<string>, environment?: Readonly<Record<string, string>>) =>
  Demo.run(args, environment, "consume.ts")

const start = (args: ReadonlyArray<string>, environment?: Readonly<Record<string, string>>) =>
  Demo.start(args, environment, "consume.ts")

describe("The consuming command line, with the embedded broker", () => {
  it.live("shows an outage in which nothing is lost", () =>
    Effect.gen(function*() {
      const demo = yield* run(["--count", "20", "--retry-interval", "200 millis"])
      assert.match(demo.lastLine ?? "", /^published 20, handled 18, handled more than once [12], dead-lettered 2$/)
      assert.strictEqual(demo.exitCode, 0)
      assert.strictEqual(demo.stderr, "")
      assert.isTrue(demo.stdout.some((line) => line.startsWith("consume: disconnected")))
      assert.isTrue(demo.stdout.some((line) => line.endsWith(": handled again")))
      assert.include(demo.stdout, "Goodbye World! - 3: dead-lettered")
      assert.include(
        demo.stdout,
        "Hello World! - 6: nobody was there to be greeted; it will be tried again"
      )
    }))

  it.live(
    "takes its settings from the environment too, and handles each message once without an outage",
    () =>
      Effect.gen(function*() {
        const demo = yield* run(["--count", "10"], {
          DEMO_COUNT: "7",
          DEMO_INTERVAL: "1 millis",
          DEMO_NO_OUTAGE: "true",
          DEMO_WORK: "1 millis"
        })
        assert.strictEqual(demo.lastLine, "published 10, handled 9, handled more than once 0, dead-lettered 1")
        assert.strictEqual(demo.exitCode, 0)
        assert.isFalse(demo.stdout.some((line) => line.includes("reconnecting")))
      })
  )

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it.live(`ends in order with 130 at ${signal}`, () =>
      Effect.gen(function*() {
        const demo = yield* start(["--interval", "50 millis", "--no-outage"])
        yield* demo.shows("Hello World! - 2: handled")
        yield* demo.signal(signal)
        const { exitCode, lastLine, stderr, stdout } = yield* demo.ending
        const ending = (end: string) => stdout.filter((line) => line.endsWith(end)).length
        assert.strictEqual(exitCode, 130)
        assert.strictEqual(
          lastLine,
          `published ${ending(": confirmed")}, handled ${ending(": handled")}, handled more than once 0, ` +
            `dead-lettered ${ending(": dead-lettered")}`
        )
        assert.sameMembers(stdout.slice(-3, -1), ["consume: connection closed", "publish: connection closed"])
        assert.strictEqual(stderr, "")
      }))
  }

  it.live("exits with 1 when the broker stays away", () =>
    Effect.gen(function*() {
      const demo = yield* run([
        "--count=4",
        "--interval=0 millis",
        "--retry-interval=10 millis",
        "--retry-max=0"
      ])
      assert.strictEqual(demo.exitCode, 1)
      assert.match(demo.lastLine ?? "", /^published 2, handled /)
      assert.match(demo.stderr, /^reconnect: gave up reconnecting after 1 attempt.*\n$/)
    }))

  it.live("lists every flag with its variable in --help", () =>
    Effect.gen(function*() {
      const demo = yield* run(["--help"])
      assert.strictEqual(demo.exitCode, 0)
      const help = demo.stdout.join("\n")
      for (
        const [flag, variable] of [
          ["--count", "DEMO_COUNT"],
          ["--interval", "DEMO_INTERVAL"],
          ["--url", "AMQP_URL"],
          ["--confirm-timeout", "AMQP_CONFIRM_TIMEOUT"],
          ["--retry-interval", "AMQP_RETRY_INTERVAL"],
          ["--retry-max", "AMQP_RETRY_MAX"],
          ["--no-outage", "DEMO_NO_OUTAGE"],
          ["--work", "DEMO_WORK"]
        ] as const
      ) {
        assert.match(help, new RegExp(`${flag} .*\\(${variable};`))
      }
    }))
})

describeWithOwnNode("The consuming command line, with a RabbitMQ", () => {
  it.live("can be run twice, and leaves no queue behind", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      for (let time = 0; time < 2; time++) {
        const demo = yield* run(["--count", "30", "--interval", "5 millis"], { AMQP_URL: broker.url })
        assert.strictEqual(demo.lastLine, "published 30, handled 27, handled more than once 0, dead-lettered 3")
        assert.strictEqual(demo.exitCode, 0)
        assert.strictEqual((yield* broker.counts).queues, 0)
      }
    }))

  it.live(
    "handles or dead-letters all of 300 messages while the broker is killed and started again",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        const demo = yield* start(
          ["--count", "300", "--interval", "20 millis", "--confirm-timeout", "2 minutes", "--retry-max", "10000"],
          { AMQP_URL: broker.url }
        )
        yield* demo.shows("Hello World! - 100: handled")
        yield* broker.kill
        yield* demo.shows("reconnecting, attempt")
        yield* broker.start
        const { exitCode, lastLine, stdout } = yield* demo.ending
        assert.match(lastLine ?? "", /^published 300, handled 270, handled more than once \d+, dead-lettered 30$/)
        assert.strictEqual(exitCode, 0)
        assert.isTrue(stdout.some((line) => line.endsWith(": handled again")))
        assert.strictEqual((yield* broker.counts).queues, 0)
      })
  )
})
