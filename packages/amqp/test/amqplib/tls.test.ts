import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted } from "effect"
import type { AmqpDriver } from "effect-amqp"
import { AmqpConnection } from "effect-amqp"
import * as Certificates from "effect-amqp-test-rig/Certificates"
import type { TLSSocket } from "node:tls"
import { logging } from "../support/Consuming.ts"
import * as ScriptedBroker from "../support/ScriptedBroker.ts"

/** A certificate of `pfx-client` with its key as PKCS #12, which the passphrase `open` opens; made for this test. */
const pfx = Buffer.from(
  "MIIEDAIBAzCCA8IGCSqGSIb3DQEHAaCCA7MEggOvMIIDqzCCAmIGCSqGSIb3DQEHBqCCAlMwggJPAgEAMIICSAYJKoZIhvcNAQcBMFcG" +
    "CSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiD2lC0pl0+/gICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAwmIxphJjaT" +
    "Gy6q32vldJmAggHgHueNvqQL8+PtKDfwFzmRxkvu4bCLdcSCtUN/unwa9r2ZkQT0r7hQ2i1dLz896jFpZE23uHVsGVEpZtQMg526gRJB" +
    "wItiBk8XkcqeGqxJiz8UVRB5VAftrgP27expKPqZXSlqPk2vzzQY4McYhuKHFnFIwYD9xVOUCjb2VrSfSLt9J6zRb3CxOfkS6MJC28Hc" +
    "vZEjYRuceQyNBgdiG4oi575sX6nrRAFvEnCAC85jei4pVNy5j4UG1rK/LSAFuptet4xGhMDPZuZZsQ5CUW6NFGjdbgPoiMtfASRij62W" +
    "Lip7QW7gfrrI4SH9/XJDQFAAreGAyKcpLHp5QSmKegn9IbC8ksisae8l7vtAMJQRVkmNu5jDZtq5XMp7000N3vDfNrRm4r2SBq7SQi4A" +
    "/J6Pf1pPGL+QUPjG+xCtx8ZU37WvnusN4jtQF6GnaeJqGJ1KiDO6DaYxQvqcBXAYFzU4/rUZvwaMF1Kz66d9Bl3lJ30oJayldNOUB8wt" +
    "kN841kYSY3zM8pCtsAmMwl2IDI/emzcjn1UhiFcx1V/U79YJGBDv+7pU73Hm4WRYQEombQMh9VwcMIEAWuE4VnLulRb8YzSAupZDIMTj" +
    "dLgcv/LYym2BkPKz//KHsD4MFWWThZ7iMIIBQQYJKoZIhvcNAQcBoIIBMgSCAS4wggEqMIIBJgYLKoZIhvcNAQwKAQKgge8wgewwVwYJ" +
    "KoZIhvcNAQUNMEowKQYJKoZIhvcNAQUMMBwECFeyzi9qpOusAgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQNBfKikmTTAqe" +
    "UmWw16uAKwSBkAj0fKEzbpJVZ7IElYNdZ9QpQdZlha/5bXQ9B3tqclxAN9TbcLbf3J/DvX+uwcm87hNpZcMk82k+zg4FAwm7nwuS6nbF" +
    "XM93OSsF6gQW9/wirssSAR2zgB7f3d9pyfId++oZQzVw6wG7l2H2tpWxWcM23afXmymfaucaFcLbJmh0jZXQfvFqtQdqqHXMsgaMyzEl" +
    "MCMGCSqGSIb3DQEJFTEWBBQna/RbWCIXKjWEKppYwzNGP1EZvDBBMDEwDQYJYIZIAWUDBAIBBQAEIDgESDU4qmweMIe0ytIci1QZy62Y" +
    "AYm6ac0oYEKVMjrXBAglnFD86PHaLQICCAA=",
  "base64"
)

/** Connects by TLS to a scripted broker that asks for the client's certificate, and takes any. */
const connected = Effect.fnUntraced(function*(
  tls: (authority: string) => AmqpDriver.DriverTls,
  options: AmqpConnection.Options = {},
  mechanisms = "PLAIN"
) {
  const { authority, server } = yield* Certificates.make
  const broker = yield* ScriptedBroker.make({
    mechanisms,
    tls: { cert: server.certificate, key: server.privateKey, requestCert: true, rejectUnauthorized: false }
  })
  const exit = yield* Effect.exit(AmqpConnection.make({
    endpoints: { host: broker.host, port: broker.port },
    tls: tls(authority),
    startup: { max: 0 },
    ...options
  }))
  return { exit, peers: broker.peers }
})

const startOk = (peer: ScriptedBroker.Peer) => peer.received.find(({ name }) => name === "ConnectionStartOk")!.fields

describe("a connection by TLS", () => {
  it.live("shows the certificate of a PKCS #12 file, whose user EXTERNAL takes", () =>
    Effect.gen(function*() {
      const { exit, peers } = yield* connected(
        (ca) => ({ ca, pfx: Redacted.make(pfx), passphrase: Redacted.make("open") }),
        { mechanism: "EXTERNAL" },
        "PLAIN EXTERNAL"
      )
      assert.isTrue(Exit.isSuccess(exit), String(exit))
      assert.strictEqual((peers[0]!.socket as TLSSocket).getPeerCertificate().subject.CN, "pfx-client")
      assert.deepInclude(startOk(peers[0]!), { mechanism: "EXTERNAL", response: Buffer.from("") })
    }))

  it.live("says of a passphrase that opens no PKCS #12 file which option is wrong", () =>
    Effect.gen(function*() {
      const { exit } = yield* connected((ca) => ({ ca, pfx: Redacted.make(pfx), passphrase: Redacted.make("s3cr3t") }))
      const error = Exit.findErrorOption(exit)
      assert.isTrue(error._tag === "Some")
      if (error._tag === "None") return
      assert.deepInclude(error.value.reason, { _tag: "InvalidConfiguration", option: "tls.passphrase" })
      assert.notInclude(error.value.message, "s3cr3t")
    }))

  it.live("accepts any certificate only by the name that says so, and warns of it at each connect", () =>
    Effect.gen(function*() {
      const lines: Parameters<typeof logging>[0] = []
      const refused = yield* connected(() => ({}))
      assert.isTrue(Exit.isFailure(refused.exit))
      const warnings = () => lines.filter(({ message }) => message.includes("accepts any certificate"))
      yield* Effect.gen(function*() {
        for (const count of [1, 2]) {
          const { exit } = yield* connected(() => ({ insecureAcceptAnyCertificate: true }))
          assert.isTrue(Exit.isSuccess(exit))
          assert.strictEqual(warnings().length, count)
        }
      }).pipe(Effect.provide(logging(lines)))
    }))
})
