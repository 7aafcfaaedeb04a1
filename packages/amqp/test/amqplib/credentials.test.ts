import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { AmqplibDriver } from "effect-amqp"
import type { AmqpDriver } from "effect-amqp"
import * as Certificates from "effect-amqp-test-rig/Certificates"
import * as ScriptedBroker from "../support/ScriptedBroker.ts"

const canary = "s3cr3t-canary"

/** What a connect fails with. */
const refusal = (options: Partial<AmqpDriver.DriverConnectOptions>) =>
  AmqplibDriver.driver.connect({
    host: "127.0.0.1",
    port: 1,
    tls: undefined,
    vhost: "/",
    username: "u",
    password: Redacted.make("p"),
    heartbeat: 0,
    connectionName: "c",
    ...options
  }, { onBlocked() {}, onUnblocked() {}, onClose() {} }).pipe(Effect.flip)

const path = `/etc/tls/${canary}.pem`
const pem = `-----BEGIN CERTIFICATE-----\nMIIB${canary}\n-----END CERTIFICATE-----\n`
const escaped = pem.replaceAll("\n", "\\n")

describe("certificates and keys that cannot be used", () => {
  const cases: ReadonlyArray<readonly [string, AmqpDriver.DriverTls, string, RegExp]> = [
    ["an authority given as a path", { ca: path }, "tls.ca", /path of a file/],
    ["the second of two authorities", { ca: [pem, path] }, "tls.ca", /path of a file/],
    ["a path as bytes", { ca: Buffer.from(path) }, "tls.ca", /path of a file/],
    ["a path of Windows", { cert: `C:\\${canary}.pem` }, "tls.cert", /path of a file/],
    ["a certificate with escaped newlines", { cert: escaped }, "tls.cert", /replaceAll/],
    ["a key given as a path", { cert: pem, key: Redacted.make(path) }, "tls.key", /path of a file/],
    ["a key with escaped newlines", { cert: pem, key: Redacted.make(escaped) }, "tls.key", /replaceAll/],
    ["an empty key", { key: Redacted.make("") }, "tls.key", /empty/],
    ["a certificate in DER", { cert: Buffer.from([0x30, 0x82, 1, 2]) }, "tls.cert", /no PEM text/]
  ]
  it.live.each(cases)("%s: InvalidConfiguration, with what to pass", ([, tls, option, says]) =>
    Effect.gen(function*() {
      const error = yield* refusal({ tls })
      assert.deepInclude(error.reason, { _tag: "InvalidConfiguration", option })
      assert.match(error.message, says)
      assert.notInclude(error.message, canary)
    }))

  it.live("what is one goes on to the network", () =>
    Effect.gen(function*() {
      const { authority, client } = yield* Certificates.make
      const error = yield* refusal({
        tls: { ca: authority, cert: client.certificate, key: Redacted.make(client.privateKey) }
      })
      assert.strictEqual(error.reason._tag, "ConnectionRefused")
    }))
})

describe("credentials that a broker does not take", () => {
  it.live("a mechanism that it does not offer", () =>
    Effect.gen(function*() {
      const broker = yield* ScriptedBroker.make({ mechanisms: "EXTERNAL AMQPLAIN" })
      const error = yield* refusal({ port: broker.port })
      assert.strictEqual(error.reason._tag, "AuthenticationRefused")
      assert.match(error.message, /does not offer the SASL mechanism PLAIN.*"mechanism".*auth_mechanisms/)
      assert.notMatch(error.message, /Check the user name/)
      assert.isFalse(error.isRetryable)
    }))

  for (
    const [how, hangUp] of [
      ["without a word", (peer: ScriptedBroker.Peer) => void peer.socket.destroy()],
      [
        "with FRAME_ERROR",
        (peer: ScriptedBroker.Peer) =>
          peer.send(["ConnectionClose", 0, { replyCode: 501, replyText: "FRAME_ERROR", classId: 0, methodId: 0 }])
      ]
    ] as const
  ) {
    it.live(`a token of 10 kB, for which it hangs up ${how}`, () =>
      Effect.gen(function*() {
        const broker = yield* ScriptedBroker.make({
          on: ({ name }, peer) => {
            if (name !== "ConnectionStartOk") return false
            hangUp(peer)
            return true
          }
        })
        const error = yield* refusal({ port: broker.port, password: Redacted.make(canary.repeat(800)) })
        assert.strictEqual(error.reason._tag, "AuthenticationRefused")
        assert.match(error.message, /10401 bytes.*at most about 4 to 8 kB before log-in/)
        assert.notInclude(error.message, canary)
        assert.isFalse(error.isRetryable)
        const short = yield* refusal({ port: broker.port })
        assert.notMatch(short.message, /before log-in/)
      }))
  }

  it.live("a large token does not explain a port where nobody listens", () =>
    Effect.gen(function*() {
      const error = yield* refusal({ password: Redacted.make(canary.repeat(800)) })
      assert.strictEqual(error.reason._tag, "ConnectionRefused")
    }))
})
