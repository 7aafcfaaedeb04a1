import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, References } from "effect"
import { AmqpChannel, AmqpConnection } from "effect-amqp"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Demo from "./support/Demo.ts"

/** Every body that a queue holds, duplicates once. */
const bodiesIn = (url: string, queue: string) =>
  Effect.gen(function*() {
    const channel = yield* AmqpChannel.AmqpChannel
    const bodies = new Set<string>()
    for (;;) {
      const delivery = yield* channel.get(queue, { noAck: true })
      if (Option.isNone(delivery)) return bodies
      bodies.add(yield* delivery.value.text)
    }
  }).pipe(
    Effect.provide(AmqpChannel.layer().pipe(Layer.provide(AmqpConnection.layer({ endpoints: url })))),
    Effect.provideService(References.MinimumLogLevel, "Warn")
  )

describe("The command line, with the embedded broker", () => {
  it.live("shows an outage in which nothing is lost", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run(["--count", "10", "--interval", "10 millis", "--retry-interval", "200 millis"])
      assert.strictEqual(demo.lastLine, "published 10, confirmed 10, failed 0")
      assert.strictEqual(demo.exitCode, 0)
      assert.strictEqual(demo.stderr, "")
      assert.lengthOf(demo.stdout.filter((line) => line.startsWith("reconnecting, attempt")), 3)
      assert.lengthOf(demo.stdout.filter((line) => line.startsWith("connected to")), 2)
      assert.include(demo.stdout, "Hello World! - 9: confirmed")
      assert.isFalse(demo.stdout.some((line) => line.includes("\u001b") || line.includes("\r")))
    }))

  it.live("leaves the outage out with --no-outage", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run(["--count", "5", "--interval", "0 millis", "--no-outage"])
      assert.strictEqual(demo.lastLine, "published 5, confirmed 5, failed 0")
      assert.strictEqual(demo.exitCode, 0)
      assert.isFalse(demo.stdout.some((line) => line.startsWith("reconnecting")))
    }))

  it.live("takes its settings from the environment where no flag gives them", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run(["--count", "2"], {
        DEMO_COUNT: "7",
        DEMO_INTERVAL: "1 millis",
        DEMO_NO_OUTAGE: "true",
        AMQP_CONFIRM_TIMEOUT: "2 seconds",
        AMQP_RETRY_INTERVAL: "10 millis",
        AMQP_RETRY_MAX: "3"
      })
      assert.strictEqual(demo.lastLine, "published 2, confirmed 2, failed 0")
    }))

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it.live(`ends in order with 130 at ${signal}`, () =>
      Effect.gen(function*() {
        const demo = yield* Demo.start(["--interval", "50 millis", "--no-outage"])
        yield* demo.shows("Hello World! - 3: confirmed")
        yield* demo.signal(signal)
        const { exitCode, lastLine, stderr, stdout } = yield* demo.ending
        const confirmed = stdout.filter((line) => line.endsWith(": confirmed")).length
        assert.strictEqual(exitCode, 130)
        assert.strictEqual(lastLine, `published ${confirmed}, confirmed ${confirmed}, failed 0`)
        assert.strictEqual(stdout.at(-2), "connection closed")
        assert.strictEqual(stderr, "")
      }))
  }

  it.live("counts the message as failed that SIGINT finds between two attempts", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.start(["--count", "2", "--interval", "0 millis", "--retry-interval", "1 minute"])
      yield* demo.shows("it will be published again")
      yield* demo.signal("SIGINT")
      const { exitCode, lastLine } = yield* demo.ending
      assert.strictEqual(exitCode, 130)
      assert.strictEqual(lastLine, "published 2, confirmed 1, failed 1")
    }))

  it.live("exits with 1 when the broker stays away", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run([
        "--count=4",
        "--interval=0 millis",
        "--retry-interval=10 millis",
        "--retry-max=1"
      ])
      assert.strictEqual(demo.exitCode, 1)
      assert.strictEqual(demo.lastLine, "published 3, confirmed 2, failed 1")
      assert.match(demo.stderr, /^reconnect: gave up reconnecting after 2 attempts.*\n$/)
    }))

  it.live("lists every flag with its variable in --help", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run(["--help"])
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
          ["--no-outage", "DEMO_NO_OUTAGE"]
        ] as const
      ) {
        assert.match(help, new RegExp(`${flag} .*\\(${variable};`))
      }
    }))
})

describe("The command line, used wrongly", () => {
  for (
    const [args, sentence] of [
      [["--count", "many"], "Invalid value for flag --count: \"many\". Expected: a whole number of 0 or more"],
      [["--retry-max", "1.5"], "Invalid value for flag --retry-max: \"1.5\". Expected: a whole number of 0 or more"],
      [
        ["--interval", "soon"],
        "Invalid value for flag --interval: \"soon\". Expected: a duration, such as \"100 millis\" or \"1 second\""
      ]
    ] as const
  ) {
    it.live(`says in one sentence what is wrong with ${args.join(" ")}`, () =>
      Effect.gen(function*() {
        const demo = yield* Demo.run(args)
        assert.strictEqual(demo.exitCode, 1)
        assert.strictEqual(demo.stderr, `${sentence}\n`)
        assert.deepStrictEqual(demo.stdout, [])
      }))
  }

  it.live("says that nothing listens at the URL", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run(["--url", "amqp://guest:pumpernickel@127.0.0.1:1", "--retry-max", "0"])
      assert.strictEqual(demo.exitCode, 1)
      assert.match(demo.stderr, /^connect: 127\.0\.0\.1:1 refused the connection .*\n$/)
      assert.notInclude(demo.stderr + demo.stdout.join(), "pumpernickel")
    }))

  it.live("does not repeat a URL that it cannot read", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run([], { AMQP_URL: "amqp:/guest:pumpernickel@@" })
      assert.strictEqual(demo.exitCode, 1)
      assert.match(demo.stderr, /^configure: .*\n$/)
      assert.notInclude(demo.stderr + demo.stdout.join(), "pumpernickel")
    }))
})

describeWithOwnNode("The command line, with a RabbitMQ", () => {
  it.live("puts every message into my_queue", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      const demo = yield* Demo.run(["--count", "50", "--interval", "0 millis"], { AMQP_URL: broker.url })
      assert.strictEqual(demo.lastLine, "published 50, confirmed 50, failed 0")
      assert.strictEqual(demo.exitCode, 0)
      assert.strictEqual((yield* broker.queueDepth("my_queue")).ready, 50)
    }))

  it.live(
    "says at once that the credentials are refused, and not what they are",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        const demo = yield* Demo.run(["--retry-interval", "1 hour"], {
          AMQP_URL: broker.url.replace("guest:guest", "guest:pumpernickel")
        })
        assert.strictEqual(demo.exitCode, 1)
        assert.match(demo.stderr, /^connect: .* refused the credentials .*\n$/)
        assert.notInclude(demo.stderr + demo.stdout.join(), "pumpernickel")
      })
  )

  it.live("confirms all of 600 messages while the broker is killed and started again", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      const demo = yield* Demo.start(
        ["--count", "600", "--interval", "20 millis", "--confirm-timeout", "2 minutes", "--retry-max", "10000"],
        { AMQP_URL: broker.url }
      )
      yield* demo.shows("Hello World! - 100: confirmed")
      yield* broker.kill
      yield* demo.shows("reconnecting, attempt")
      yield* broker.start
      const { exitCode, lastLine, stdout } = yield* demo.ending
      assert.strictEqual(lastLine, "published 600, confirmed 600, failed 0")
      assert.strictEqual(exitCode, 0)
      assert.lengthOf(stdout.filter((line) => line.startsWith("connected to RabbitMQ")), 2)
      assert.deepStrictEqual(
        yield* bodiesIn(broker.url, "my_queue"),
        new Set(Array.from({ length: 600 }, (_, n) => `Hello World! - ${n}`))
      )
    }))
})
