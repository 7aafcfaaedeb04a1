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

const consume = (args: ReadonlyArray<string>, environment?: Readonly<Record<string, string>>) =>
  Demo.run(args, environment, "consume.ts")

const startConsuming = (args: ReadonlyArray<string>, environment?: Readonly<Record<string, string>>) =>
  Demo.start(args, environment, "consume.ts")

const ending = (stdout: ReadonlyArray<string>, end: string) => stdout.filter((line) => line.endsWith(end)).length

const commonFlags = [
  ["--count", "DEMO_COUNT"],
  ["--interval", "DEMO_INTERVAL"],
  ["--url", "AMQP_URL"],
  ["--confirm-timeout", "AMQP_CONFIRM_TIMEOUT"],
  ["--retry-interval", "AMQP_RETRY_INTERVAL"],
  ["--retry-max", "AMQP_RETRY_MAX"],
  ["--no-outage", "DEMO_NO_OUTAGE"]
] as const

interface Case {
  readonly name: string
  readonly program: Demo.Program
  readonly flags: ReadonlyArray<readonly [flag: string, variable: string]>
  /** A line that shows that it is at work. */
  readonly atWork: string
  /** What the last line has to say after these lines. */
  readonly summary: (stdout: ReadonlyArray<string>) => string
  /** What it says of its connections before that, in any order. */
  readonly goodbyes: ReadonlyArray<string>
}

const cases: ReadonlyArray<Case> = [
  {
    name: "publishing",
    program: "main.ts",
    flags: commonFlags,
    atWork: "Hello World! - 3: confirmed",
    summary: (stdout) => {
      const confirmed = ending(stdout, ": confirmed")
      return `published ${confirmed}, confirmed ${confirmed}, failed 0`
    },
    goodbyes: ["connection closed"]
  },
  {
    name: "consuming",
    program: "consume.ts",
    flags: [...commonFlags, ["--work", "DEMO_WORK"]],
    atWork: "Hello World! - 2: handled",
    summary: (stdout) =>
      `published ${ending(stdout, ": confirmed")}, handled ${ending(stdout, ": handled")}, ` +
      `handled more than once 0, dead-lettered ${ending(stdout, ": dead-lettered")}`,
    goodbyes: ["consume: connection closed", "publish: connection closed"]
  }
]

describe.each(cases)("The $name command line", ({ atWork, flags, goodbyes, program, summary }) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it.live(`ends in order with 130 at ${signal}`, () =>
      Effect.gen(function*() {
        const demo = yield* Demo.start(["--interval", "50 millis", "--no-outage"], {}, program)
        yield* demo.shows(atWork)
        yield* demo.signal(signal)
        const { exitCode, lastLine, stderr, stdout } = yield* demo.ending
        assert.strictEqual(exitCode, 130)
        assert.strictEqual(lastLine, summary(stdout))
        assert.sameMembers(stdout.slice(-1 - goodbyes.length, -1), [...goodbyes])
        assert.strictEqual(stderr, "")
      }))
  }

  it.live("ends without a complaint when nobody reads its output any more", () =>
    Effect.gen(function*() {
      const { exitCode, stderr, stdout } = yield* Demo.firstLine(["--interval", "10 millis", "--no-outage"], program)
      assert.lengthOf(stdout, 1)
      assert.strictEqual(stderr, "")
      assert.strictEqual(exitCode, 0)
    }))

  it.live("lists every flag with its variable in --help", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run(["--help"], {}, program)
      assert.strictEqual(demo.exitCode, 0)
      const help = demo.stdout.join("\n")
      for (const [flag, variable] of flags) assert.match(help, new RegExp(`${flag} .*\\(${variable};`))
    }))

  it.live.each([
    ["--count", "many", "a whole number of 0 or more"],
    ["--retry-max", "1.5", "a whole number of 0 or more"],
    ["--interval", "soon", "a duration, such as \"100 millis\" or \"1 second\""],
    ["--interval", "5", "a duration, such as \"100 millis\" or \"1 second\""]
  ])("says in one sentence what is wrong with %s %s", ([flag, value, expected]) =>
    Effect.gen(function*() {
      const demo = yield* Demo.run([flag!, value!], {}, program)
      assert.strictEqual(demo.exitCode, 1)
      assert.strictEqual(demo.stderr, `Invalid value for flag ${flag}: "${value}". Expected: ${expected}\n`)
      assert.deepStrictEqual(demo.stdout, [])
    }))
})

describe("The publishing command line, with the embedded broker", () => {
  it.live("names the flag of an option that the library refuses", () =>
    Effect.gen(function*() {
      const demo = yield* Demo.run(["--confirm-timeout", "0 millis"])
      assert.strictEqual(demo.exitCode, 1)
      assert.match(
        demo.stderr,
        /^configure: the flag --confirm-timeout is invalid: it must be a duration of more than 0/
      )
    }))

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
})

describe("The consuming command line, with the embedded broker", () => {
  it.live("shows an outage in which nothing is lost", () =>
    Effect.gen(function*() {
      const demo = yield* consume(["--count", "20", "--retry-interval", "200 millis"])
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
        const demo = yield* consume(["--count", "10"], {
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

  it.live("exits with 1 when the broker stays away", () =>
    Effect.gen(function*() {
      const demo = yield* consume([
        "--count=4",
        "--interval=0 millis",
        "--retry-interval=10 millis",
        "--retry-max=0"
      ])
      assert.strictEqual(demo.exitCode, 1)
      assert.match(demo.lastLine ?? "", /^published 2, handled /)
      assert.match(demo.stderr, /^reconnect: gave up reconnecting after 1 attempt.*\n$/)
    }))
})

describe("The command line, used wrongly", () => {
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

describeWithOwnNode("The publishing command line, with a RabbitMQ", () => {
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

describeWithOwnNode("The consuming command line, with a RabbitMQ", () => {
  it.live("can be run twice, and leaves no queue behind", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      for (let time = 0; time < 2; time++) {
        const demo = yield* consume(["--count", "30", "--interval", "5 millis"], { AMQP_URL: broker.url })
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
        const demo = yield* startConsuming(
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
