import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Cause, ConfigProvider, Effect, Exit, Layer, Redacted, Schema } from "effect"
import type { AmqpDriver } from "effect-amqp"
import { AmqpConnection, CurrentDriver } from "effect-amqp"
import { inspect } from "node:util"
import * as ScriptedDriver from "../support/ScriptedDriver.ts"

const canary = "CANARY"

/** What was dialled, and the text of all that a program could print of the failure. */
const dialled = <E>(connection: Layer.Layer<AmqpConnection.AmqpConnection, E>) =>
  Effect.gen(function*() {
    const seen: Array<AmqpDriver.DriverConnectOptions> = []
    const exit = yield* Layer.build(connection).pipe(
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
    const text = Exit.isFailure(exit) ? Cause.pretty(exit.cause) + inspect(exit.cause, { depth: 10 }) : ""
    return { seen, text }
  })

const quick = { startup: { max: 0 } } as const
const byUrl = (url: string) => dialled(AmqpConnection.layer({ endpoints: url, ...quick }))
const byEnvironment = (env: Record<string, string>) =>
  dialled(
    AmqpConnection.layerConfig(quick).pipe(
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
    )
  )

describe("credentials", () => {
  const raw = [
    ["?", `2024?${canary}`],
    ["? in front", `?${canary}&more`],
    ["? with a heartbeat", `?heartbeat=5${canary}`],
    ["#", `2024#${canary}`],
    ["# in front", `#${canary}`],
    ["/", `20/${canary}`],
    ["two /", `20/24/${canary}`],
    ["/ and ?", `20/24?${canary}`],
    ["@", `20@${canary}`],
    ["white space", `20 ${canary}`],
    ["a stray %", `20%${canary}`]
  ] as const
  for (const [what, password] of raw) {
    for (const where of ["password", "user name"] as const) {
      it.effect(`a URL with ${what} in its ${where} is refused with the way to write it, and shows nothing of it`, () =>
        Effect.gen(function*() {
          const userinfo = where === "password" ? `app:${password}` : `${password}:secret`
          const { seen, text } = yield* byUrl(`amqp://${userinfo}@rabbit.example.com:5672/`)
          assert.deepStrictEqual(seen, [])
          assert.match(text, /InvalidConfiguration/)
          assert.match(text, /%2[0-9A-F]/)
          assert.notInclude(text, canary)
          assert.notInclude(text, "secret")
        }))
    }
  }

  it.effect("a URL without a scheme is refused, and shows nothing of it", () =>
    Effect.gen(function*() {
      for (const url of [`${canary}:secret@rabbit.example.com`, `//${canary}@h`, `amqp:${canary}@h`]) {
        const { seen, text } = yield* byUrl(url)
        assert.deepStrictEqual(seen, [])
        assert.match(text, /expected amqp:\/\//)
        assert.notInclude(text, canary)
      }
    }))

  it.effect("a host that holds credentials is refused, and shows nothing of them", () =>
    Effect.gen(function*() {
      for (const host of [`app:${canary}@rabbit`, `amqp://app:${canary}@rabbit`]) {
        const { seen, text } = yield* dialled(AmqpConnection.layer({ endpoints: { host }, ...quick }))
        assert.deepStrictEqual(seen, [])
        assert.match(text, /host name alone/)
        assert.notInclude(text, canary)
      }
    }))

  it.effect("a comma in a password does not split AMQP_URL", () =>
    Effect.gen(function*() {
      const { seen } = yield* byEnvironment({ AMQP_URL: "amqp://app:12,x:y@rabbit-1, amqps://app:a,b@rabbit-2" })
      assert.deepStrictEqual(new Set(seen.map(({ host }) => host)), new Set(["rabbit-1", "rabbit-2"]))
      assert.deepStrictEqual(
        new Set(seen.map(({ password }) => Redacted.value(password))),
        new Set(["12,x:y", "a,b"])
      )
    }))

  it.effect("a newline at the end of a secret is left out", () =>
    Effect.gen(function*() {
      const { seen } = yield* byEnvironment({
        AMQP_HOST: "rabbit",
        AMQP_USERNAME: "app\n",
        AMQP_PASSWORD: "secret\r\n",
        AMQP_VHOST: "v\n"
      })
      assert.deepInclude(seen[0], { host: "rabbit", username: "app", vhost: "v" })
      assert.strictEqual(Redacted.value(seen[0]!.password), "secret")
      const url = yield* byEnvironment({ AMQP_URL: "amqp://app:secret@rabbit/v\n" })
      assert.deepInclude(url.seen[0], { host: "rabbit", username: "app", vhost: "v" })
    }))

  const text = Arbitrary.schema(
    Schema.String.pipe(Schema.check(Schema.isPattern(/^[a-zA-Z0-9?#/@:,%&= !$*+~.-]{1,20}$/)))
  )

  it.effect.prop(
    "a percent-encoded user name and password reach the broker as they are",
    [text, text],
    ([username, password]) =>
      Effect.gen(function*() {
        const encoded = [username, password, "v/h"].map(encodeURIComponent)
        const { seen } = yield* byUrl(`amqp://${encoded[0]}:${encoded[1]}@rabbit.example.com:5673/${encoded[2]}`)
        assert.deepInclude(seen[0], { host: "rabbit.example.com", port: 5673, username, vhost: "v/h" })
        assert.strictEqual(Redacted.value(seen[0]!.password), password)
      }),
    { arbitrary: { runs: 200 } }
  )

  it.effect.prop(
    "a raw password never changes the host, and is never shown where it is refused",
    [text],
    ([part]) =>
      Effect.gen(function*() {
        const password = `${canary}${part}${canary}`
        const { seen, text } = yield* byUrl(`amqp://app:${password}@rabbit.example.com:5673/v`)
        if (seen.length === 0) return assert.notInclude(text, canary)
        assert.deepInclude(seen[0], { host: "rabbit.example.com", port: 5673, username: "app", vhost: "v" })
        assert.strictEqual(Redacted.value(seen[0]!.password), decodeURIComponent(password))
      }),
    { arbitrary: { runs: 200 } }
  )
})
