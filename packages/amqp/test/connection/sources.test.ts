import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import type { AmqpDriver, AmqpError } from "effect-amqp"
import { AmqpConnection, AmqpPublisher, AmqpTopology, CurrentDriver } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { TestClock } from "effect/testing"
import { reasonOf } from "../support/Connecting.ts"
import * as ScriptedDriver from "../support/ScriptedDriver.ts"
import * as Virtual from "../support/Virtual.ts"

const canary = "s3cr3t-canary"

/** Dials nothing and notes what would have been dialled. */
const seeing = (seen: Array<AmqpDriver.DriverConnectOptions>): AmqpDriver.AmqpDriver => ({
  name: "seeing",
  connect: (options) =>
    Effect.suspend(() => {
      seen.push(options)
      return Effect.fail(ScriptedDriver.lost)
    })
})

const dialled = (
  layer: Layer.Layer<AmqpConnection.AmqpConnection, AmqpError.AmqpError | Config.ConfigError>,
  env: Record<string, string> = {}
) =>
  Effect.gen(function*() {
    const seen: Array<AmqpDriver.DriverConnectOptions> = []
    const exit = yield* Layer.build(layer).pipe(
      Effect.provideService(CurrentDriver.CurrentDriver, seeing(seen)),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env })),
      Effect.scoped,
      Effect.exit
    )
    return { seen, exit }
  })

describe("endpoints of a connection", () => {
  it.effect("no publish with the default deadline fails for one of two endpoints that does not answer", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const driver = yield* CurrentDriver.CurrentDriver
      const dials: Array<string> = []
      let isSilent = false
      const halfSilent: AmqpDriver.AmqpDriver = {
        name: "half silent",
        connect: (options, events) =>
          Effect.suspend(() => {
            dials.push(options.host)
            return isSilent && options.host === "silent" ? Effect.never : driver.connect(options, events)
          })
      }
      yield* Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        for (let round = 0; round < 8; round++) {
          isSilent = true
          yield* TestClock.adjust("3 seconds")
          yield* broker.cutConnections
          const publishing = yield* Effect.forkChild(
            publisher.publish({ exchange: Virtual.orders, routingKey: "paid", body: "x" }),
            { startImmediately: true }
          )
          for (let step = 0; step < 6; step++) {
            yield* Virtual.settle
            yield* TestClock.adjust("500 millis")
          }
          const exit = publishing.pollUnsafe()
          assert.isTrue(exit !== undefined && Exit.isSuccess(exit))
        }
        // One that did not answer is asked last, so that it costs its second once.
        assert.isAtMost(dials.filter((host) => host === "silent").length, 2)
      }).pipe(
        Effect.provide(
          AmqpPublisher.layer().pipe(
            Layer.provide(AmqpTopology.layer(Virtual.topology)),
            Layer.provide(AmqpConnection.layer({ endpoints: ["amqp://silent", "amqp://good"] }))
          )
        ),
        Effect.provideService(CurrentDriver.CurrentDriver, halfSilent)
      )
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* broker.leftovers, [])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("are asked for at each attempt when they are given as an effect", () =>
    Effect.gen(function*() {
      const seen: Array<AmqpDriver.DriverConnectOptions> = []
      let asked = 0
      const making = yield* AmqpConnection.make({
        endpoints: Effect.sync(() => `amqp://rabbit-${++asked}`),
        startup: { max: 2 }
      }).pipe(
        Effect.provideService(CurrentDriver.CurrentDriver, seeing(seen)),
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(making)
      assert.deepStrictEqual(seen.map(({ host }) => host), ["rabbit-1", "rabbit-2", "rabbit-3"])
    }))

  it.effect("that cannot be resolved are an attempt that failed, whose error shows nothing of what failed", () =>
    Effect.gen(function*() {
      const seen: Array<AmqpDriver.DriverConnectOptions> = []
      const exit = yield* AmqpConnection.make({
        endpoints: Effect.fail(new Error(canary)),
        startup: { max: 0 }
      }).pipe(Effect.provideService(CurrentDriver.CurrentDriver, seeing(seen)), Effect.scoped, Effect.exit)
      const reason = reasonOf(exit)
      assert.deepInclude(reason as object, { _tag: "SourceFailed", option: "endpoints" })
      assert.notInclude(reason.message, canary)
    }))
})

describe("credentials of a connection", () => {
  it.effect("are asked for at each attempt when they are given as an effect", () =>
    Effect.gen(function*() {
      const seen: Array<AmqpDriver.DriverConnectOptions> = []
      let asked = 0
      const making = yield* AmqpConnection.make({
        credentials: Effect.sync(() => ({ username: "u", password: Redacted.make(`p${++asked}`) })),
        startup: { max: 1 }
      }).pipe(
        Effect.provideService(CurrentDriver.CurrentDriver, seeing(seen)),
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(making)
      assert.deepStrictEqual(seen.map(({ password }) => Redacted.value(password)), ["p1", "p2"])
    }))

  it.effect("that expire are renewed on the same session when a fifth of their time is left", () =>
    Effect.gen(function*() {
      const driver = yield* CurrentDriver.CurrentDriver
      const clock = yield* Effect.clockWith(Effect.succeed)
      const updates: Array<readonly [number, string]> = []
      let asked = 0
      const watched: AmqpDriver.AmqpDriver = {
        name: "watched",
        connect: (options, events) =>
          Effect.map(driver.connect(options, events), (connection) => ({
            ...connection,
            updateSecret: (secret) =>
              Effect.sync(() => void updates.push([clock.currentTimeMillisUnsafe(), Redacted.value(secret)]))
          }))
      }
      const connection = yield* AmqpConnection.make({
        credentials: Effect.sync(() => ({
          username: "guest",
          password: Redacted.make(++asked === 1 ? "guest" : `token-${asked}`),
          expires: new Date(clock.currentTimeMillisUnsafe() + 100_000)
        }))
      }).pipe(Effect.provideService(CurrentDriver.CurrentDriver, watched))
      for (let step = 0; step < 17; step++) {
        yield* Virtual.settle
        yield* TestClock.adjust("10 seconds")
      }
      assert.deepStrictEqual(updates, [[80_000, "token-2"], [160_000, "token-3"]])
      assert.deepInclude((yield* connection.state) as object, { _tag: "Connected", epoch: 1 })
    }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layer)))

  /** A connection whose credentials last 100 seconds, and what was dialled with; updates are answered as a test says. */
  const renewed = Effect.fnUntraced(function*(
    next: (asked: number) => { readonly username: string; readonly password: string },
    updateSecret: AmqpDriver.DriverConnection["updateSecret"]
  ) {
    const driver = yield* CurrentDriver.CurrentDriver
    const clock = yield* Effect.clockWith(Effect.succeed)
    const dials: Array<readonly [atMillis: number, username: string, password: string]> = []
    const watched: AmqpDriver.AmqpDriver = {
      name: "watched",
      connect: (options, events) => {
        dials.push([clock.currentTimeMillisUnsafe(), options.username, Redacted.value(options.password)])
        return Effect.map(
          driver.connect({ ...options, username: "guest", password: Redacted.make("guest") }, events),
          (connection) => ({ ...connection, updateSecret })
        )
      }
    }
    let asked = 0
    const connection = yield* AmqpConnection.make({
      credentials: Effect.sync(() => {
        const { password, username } = next(++asked)
        return {
          username,
          password: Redacted.make(password),
          expires: new Date(clock.currentTimeMillisUnsafe() + 100_000)
        }
      })
    }).pipe(Effect.provideService(CurrentDriver.CurrentDriver, watched))
    return { connection, dials }
  })

  it.effect("that the broker does not take within the operation deadline are used by the next session", () =>
    Effect.gen(function*() {
      const { connection, dials } = yield* renewed(
        (asked) => ({ username: "app", password: `token-${asked}` }),
        () => Effect.never
      )
      yield* pass(89_000)
      assert.deepInclude((yield* connection.state) as object, { _tag: "Connected", epoch: 1 })
      yield* pass(2000)
      // Asked for at the start, for the update, which has ten seconds, and for the next attempt.
      assert.deepStrictEqual(dials, [[0, "app", "token-1"], [90_000, "app", "token-3"]])
      assert.deepInclude((yield* connection.state) as object, { _tag: "Connected", epoch: 2 })
    }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layer)))

  it.effect("that name another user end the session, because a connection keeps its user", () =>
    Effect.gen(function*() {
      let updates = 0
      const { connection, dials } = yield* renewed(
        (asked) => ({ username: asked === 1 ? "old" : "new", password: `token-${asked}` }),
        () => Effect.sync(() => void updates++)
      )
      yield* pass(79_000)
      assert.deepInclude((yield* connection.state) as object, { _tag: "Connected", epoch: 1 })
      yield* pass(2000)
      assert.deepStrictEqual(dials, [[0, "old", "token-1"], [80_000, "new", "token-3"]])
      assert.deepInclude((yield* connection.state) as object, { _tag: "Connected", epoch: 2 })
      assert.strictEqual(updates, 0)
    }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layer)))
})

describe("AmqpConnection.layerConfig", () => {
  it.effect("takes options as Config, as a Config of all, or as values, and the rest from the environment", () =>
    Effect.gen(function*() {
      const env = { AMQP_USERNAME: "env", RABBIT: "amqp://own", AMQP_HOST: "h" }
      const own = yield* dialled(
        AmqpConnection.layerConfig({ endpoints: Config.Redacted("RABBIT"), startup: Config.succeed({ max: 0 }) }),
        env
      )
      assert.deepInclude(own.seen[0], { host: "own", username: "env" })
      const all = yield* dialled(
        AmqpConnection.layerConfig(
          Config.all({ endpoints: Config.String("RABBIT"), startup: Config.succeed({ max: 0 }) })
        ),
        env
      )
      assert.deepInclude(all.seen[0], { host: "own", username: "guest" })
      const values = yield* dialled(AmqpConnection.layerConfig({ vhost: "v", startup: { max: 0 } }), env)
      assert.deepInclude(values.seen[0], { host: "h", username: "env", vhost: "v" })
    }))

  it.effect("reads infinite retries", () =>
    Effect.gen(function*() {
      const { retry } = yield* AmqpConnection.config.pipe(
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromEnv({ env: { AMQP_RETRY_MAX: "infinity" } })
        )
      )
      assert.deepInclude(retry, { max: Infinity })
    }))

  it.effect.each(["AMQP_HEARTBEAT", "AMQP_RETRY_INTERVAL"])(
    "says of %s without a unit what would be right",
    (name) =>
      Effect.gen(function*() {
        const { exit, seen } = yield* dialled(AmqpConnection.layerConfig({ startup: { max: 0 } }), { [name]: "30" })
        assert.match(reasonOf(exit as Exit.Exit<never, AmqpError.AmqpError>).message, /no unit: write "30 seconds"/)
        assert.strictEqual(seen.length, 0)
      })
  )
})

describe("TLS options of a connection", () => {
  const wrong: ReadonlyArray<readonly [string, AmqpConnection.Options, RegExp]> = [
    ["a URL without TLS", { endpoints: "amqp://h", tls: {} }, /amqps:\/\//],
    ["an authority given as a path", { endpoints: "amqps://h", tls: { ca: "/etc/ssl/ca.pem" } }, /path of a file/],
    [
      "a key with escaped newlines",
      { endpoints: "amqps://h", tls: { key: Redacted.make(`-----BEGIN KEY-----\\n${canary}\\n-----END KEY-----`) } },
      /newlines are escaped/
    ],
    ["a key that is not Redacted", { endpoints: "amqps://h", tls: { key: canary as never } }, /Redacted\.make\(key\)/]
  ]
  it.effect.each(wrong)(
    "%s is refused before anything is dialled, without showing a secret",
    ([, options, says]) =>
      Effect.gen(function*() {
        const { exit, seen } = yield* dialled(AmqpConnection.layer({ startup: { max: 0 }, ...options }))
        const reason = reasonOf(exit as Exit.Exit<never, AmqpError.AmqpError>)
        assert.strictEqual(reason._tag, "InvalidConfiguration")
        assert.match(reason.message, says)
        assert.notInclude(reason.message, canary)
        assert.strictEqual(seen.length, 0)
      })
  )
})
