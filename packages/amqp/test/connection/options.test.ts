import { assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Exit, Layer, Redacted } from "effect"
import type { AmqpDriver } from "effect-amqp"
import { AmqpConnection, AmqplibDriver, CurrentDriver } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import * as diagnostics from "node:diagnostics_channel"
import { reasonOf } from "../support/Connecting.ts"
import * as ScriptedDriver from "../support/ScriptedDriver.ts"

describe("the options of an AmqpConnection", () => {
  const canary = "s3cr3t-canary"
  const optionsOf = (env: Record<string, string>) =>
    AmqpConnection.config.pipe(
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
    )
  const dialled = (options: AmqpConnection.Options) =>
    Effect.gen(function*() {
      const seen: Array<AmqpDriver.DriverConnectOptions> = []
      const exit = yield* AmqpConnection.make({ startup: { max: 0 }, ...options }).pipe(
        Effect.provideService(CurrentDriver.CurrentDriver, {
          name: "seeing",
          connect: (options) =>
            Effect.suspend(() => {
              seen.push(options)
              return Effect.fail(ScriptedDriver.lost)
            })
        }),
        Effect.scoped,
        Effect.exit
      )
      return { exit, seen }
    })

  it.effect("a URL names host, port, credentials and virtual host, percent-decoded", () =>
    Effect.gen(function*() {
      const { seen } = yield* dialled({ endpoints: "amqp://us%40er:p%2Fw@h:1234/v%2Fh?heartbeat=7" })
      assert.deepInclude(seen[0], {
        host: "h",
        port: 1234,
        vhost: "v/h",
        username: "us@er",
        heartbeat: 7,
        tls: undefined
      })
      assert.strictEqual(Redacted.value(seen[0]!.password), "p/w")
    }))

  it.effect("what a URL leaves out comes from the options, and then from RabbitMQ's defaults", () =>
    Effect.gen(function*() {
      const plain = yield* dialled({ endpoints: "amqp://h" })
      assert.deepInclude(plain.seen[0], { port: 5672, vhost: "/", username: "guest", heartbeat: 10 })
      const given = yield* dialled({
        endpoints: "amqps://h",
        username: "u",
        vhost: "v",
        password: Redacted.make("p")
      })
      assert.deepInclude(given.seen[0], { port: 5671, vhost: "v", username: "u", tls: {} })
      assert.strictEqual(Redacted.value(given.seen[0]!.password), "p")
    }))

  it.effect("the environment gives a URL, or parts, and the retry budget", () =>
    Effect.gen(function*() {
      const url = yield* optionsOf({
        AMQP_URL: `amqp://u:${canary}@a, amqp://b`,
        AMQP_PORT: "tcp://10.0.0.1:5672",
        AMQP_RETRY_INTERVAL: "250 millis",
        AMQP_RETRY_MAX: "7",
        AMQP_HEARTBEAT: "30 seconds"
      })
      const { seen } = yield* dialled(url)
      assert.deepStrictEqual(seen.map((options) => options.host).sort(), ["a", "b"])
      assert.strictEqual(seen[0]!.heartbeat, 30)
      assert.deepInclude(url.retry, { max: 7 })
      const parts = yield* optionsOf({
        AMQP_HOST: "h",
        AMQP_PORT: "1",
        AMQP_TLS: "true",
        AMQP_USERNAME: "u",
        AMQP_PASSWORD: canary,
        AMQP_VHOST: "v"
      })
      assert.deepInclude((yield* dialled(parts)).seen[0], { host: "h", port: 1, username: "u", vhost: "v", tls: {} })
    }))

  it.effect.each(
    [
      ["tcp://10.0.0.1:5672", /no whole number.*Kubernetes.*AMQP_URL, or enableServiceLinks: false/],
      [`amqp://u:${canary}@h`, /no whole number from 1 to 65535/],
      ["5672a", /no whole number from 1 to 65535/],
      ["70000", /70000 is not a whole number from 1 to 65535/]
    ] as const
  )(
    "AMQP_PORT=%s is refused with what would be right, and not repeated where it is a text",
    ([port, says]) =>
      Effect.gen(function*() {
        const reason = reasonOf(yield* Effect.exit(AmqpConnection.make(yield* optionsOf({ AMQP_PORT: port }))))
        assert.deepInclude(reason as object, { _tag: "InvalidConfiguration", option: "endpoints" })
        assert.match(reason.message, says)
        assert.notInclude(reason.message, canary)
      })
  )

  it.effect("an IPv6 address is dialled without its brackets", () =>
    Effect.gen(function*() {
      const url = yield* dialled({ endpoints: "amqp://[::1]:1234" })
      assert.deepInclude(url.seen[0], { host: "::1", port: 1234 })
      const parts = yield* dialled(yield* optionsOf({ AMQP_HOST: "[::1]" }))
      assert.deepInclude(parts.seen[0], { host: "::1" })
    }))

  it.effect("a host name of a URL is percent-decoded, so that it may have letters that ASCII has not", () =>
    Effect.gen(function*() {
      const { seen } = yield* dialled({ endpoints: ["amqp://ho%61st", "amqp://b\u00fccher.example"] })
      assert.deepStrictEqual(seen.map((options) => options.host).sort(), ["b\u00fccher.example", "hoast"])
    }))

  it.effect("an empty virtual host is the default one", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* AmqpConnection.make({ endpoints: ["amqp://h/", { host: "h" }], vhost: "", startup: { max: 0 } })
      assert.strictEqual((yield* broker.counts).connections, 1)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("an option that is given as undefined leaves the environment's as it is", () =>
    Effect.gen(function*() {
      const seen: Array<AmqpDriver.DriverConnectOptions> = []
      yield* Layer.build(
        AmqpConnection.layerConfig({ endpoints: undefined, username: undefined, vhost: "v", startup: { max: 0 } })
      ).pipe(
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromEnv({ env: { AMQP_URL: "amqp://a", AMQP_USERNAME: "u", AMQP_VHOST: "w" } })
        ),
        Effect.provideService(CurrentDriver.CurrentDriver, {
          name: "seeing",
          connect: (options) =>
            Effect.suspend(() => {
              seen.push(options)
              return Effect.fail(ScriptedDriver.lost)
            })
        }),
        Effect.exit
      )
      assert.deepInclude(seen[0], { host: "a", username: "u", vhost: "v" })
    }))

  it.effect("whole surrogate pairs are taken", () =>
    Effect.gen(function*() {
      const { seen } = yield* dialled({ vhost: "\u{1f430}" })
      assert.deepInclude(seen[0], { vhost: "\u{1f430}" })
    }))

  it.effect("amqplib's driver listens to no sockets after a connect that could not begin", () =>
    Effect.gen(function*() {
      const exit = yield* AmqplibDriver.driver.connect({
        host: "h",
        port: 5672,
        tls: undefined,
        vhost: "\ud800",
        username: "u",
        password: Redacted.make("p"),
        heartbeat: 10,
        connectionName: "c"
      }, { onBlocked() {}, onUnblocked() {}, onClose() {} }).pipe(Effect.exit)
      assert.isTrue(Exit.hasDies(exit))
      assert.isFalse(diagnostics.hasSubscribers("net.client.socket"))
    }))

  const invalid: ReadonlyArray<readonly [string, AmqpConnection.Options, RegExp]> = [
    ["an empty list of endpoints", { endpoints: [] }, /at least one/],
    ["a URL that cannot be parsed", { endpoints: `not a url ${canary}` }, /amqp:\/\/user/],
    ["a URL of another scheme", { endpoints: `http://u:${canary}@h` }, /"http:"/],
    ["a URL with a stray percent sign", { endpoints: `amqp://u:${canary}%@h` }, /%25/],
    ["a URL with an unknown parameter", { endpoints: `amqp://u:${canary}@h?frameMax=1` }, /"frameMax"/],
    ["a URL with a slash in the virtual host", { endpoints: "amqp://h/a/b" }, /%2F/],
    ["a URL with a slash in the password", { endpoints: `amqp://guest:1/${canary}@h` }, /%2F.*%40/],
    ["a URL with two slashes in the password", { endpoints: `amqp://guest:1/2/${canary}@h` }, /%2F.*%40/],
    ["a port out of range", { endpoints: { host: "h", port: 99999 } }, /65535/],
    ["an empty host", { endpoints: { host: "" } }, /host name/],
    ["half a surrogate pair in the virtual host", { vhost: "\ud800" }, /"vhost".*surrogate/],
    ["half a surrogate pair in the user name", { username: "\udfff" }, /"username".*surrogate/],
    [
      "half a surrogate pair in the password",
      { password: Redacted.make(`${canary}\ud800`) },
      /"password".*surrogate/
    ],
    ["no heartbeat", { heartbeat: 0 }, /1 to 65535/],
    ["a heartbeat of 10 milliseconds", { heartbeat: 10 }, /a number counts milliseconds/],
    ["a host by another name", { endpoints: { hostname: "h" } as unknown as { host: string } }, /no host name/],
    ["a password that is not Redacted", { password: canary as never }, /Redacted\.make/],
    ["a heartbeat of a broken second", { heartbeat: "1500 millis" }, /whole number of seconds/],
    ["no connect deadline", { connectTimeout: "Infinity" }, /finite/],
    ["an operation deadline of 0", { operationTimeout: 0 }, /more than 0/],
    ["a broken number of retries", { retry: { max: 1.5 } }, /whole number/],
    ["a negative number of retries", { startup: { max: -1 } }, /whole number/],
    ["an interval of 0", { retry: { interval: 0 } }, /more than 0/]
  ]
  it.effect.each(invalid)(
    "%s is refused before anything is dialled, without showing a secret",
    ([, options, says]) =>
      Effect.gen(function*() {
        const { exit, seen } = yield* dialled(options)
        const reason = reasonOf(exit)
        assert.strictEqual(reason._tag, "InvalidConfiguration")
        assert.match(reason.message, says)
        assert.strictEqual(seen.length, 0)
        assert.notInclude(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", canary)
      })
  )
})
