import { assert, it } from "@effect/vitest"
import * as Certificates from "effect-amqp-test-rig/Certificates"
import * as LoopbackServer from "effect-amqp-test-rig/LoopbackServer"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Effect from "effect/Effect"
import type { ConnectionOptions } from "node:tls"
import { connect, createServer } from "node:tls"
import { describe } from "vitest"
import * as AmqpClient from "./AmqpClient.ts"

describe("A certificate", () => {
  it.live("is accepted from the server under both of its names", () =>
    Effect.gen(function*() {
      const certificates = yield* Certificates.make
      const port = yield* serve(certificates.server, certificates.authority)
      for (const servername of ["localhost", "127.0.0.1"]) {
        assert.strictEqual(yield* verdict({ port, host: servername, ca: certificates.authority }), "authorized")
      }
    }))

  it.live("is refused when nobody trusts its authority, when it is for another host, and when it has expired", () =>
    Effect.gen(function*() {
      const certificates = yield* Certificates.make
      const ca = certificates.authority
      const port = yield* serve(certificates.server, certificates.authority)
      assert.strictEqual(yield* verdict({ port }), "SELF_SIGNED_CERT_IN_CHAIN")
      assert.strictEqual(
        yield* verdict({ port, ca: certificates.foreignAuthority }),
        "SELF_SIGNED_CERT_IN_CHAIN"
      )
      assert.strictEqual(
        yield* verdict({ port: yield* serve(certificates.serverElsewhere, ca), ca }),
        "ERR_TLS_CERT_ALTNAME_INVALID"
      )
      assert.strictEqual(yield* verdict({ port: yield* serve(certificates.expiredServer, ca), ca }), "CERT_HAS_EXPIRED")
    }))
})

describeWithOwnNode("A node with TLS", () => {
  it.live("lets in the client whose authority it trusts, and no other", () =>
    Effect.gen(function*() {
      const certificates = yield* Certificates.make
      const broker = yield* RabbitMq.make({
        tls: {
          authority: certificates.authority,
          ...certificates.server,
          verifyPeer: true,
          failIfNoPeerCert: true
        }
      })
      const url = `amqps://localhost:${broker.tlsPort}`
      const trusting = { ca: [Buffer.from(certificates.authority)] }
      const showing = ({ certificate, privateKey }: Certificates.Identity) => ({
        ...trusting,
        cert: Buffer.from(certificate),
        key: Buffer.from(privateKey)
      })
      yield* AmqpClient.make(url, showing(certificates.client))
      assert.propertyVal(
        yield* Effect.flip(AmqpClient.make(url, trusting)),
        "code",
        "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"
      )
      assert.propertyVal(
        yield* Effect.flip(AmqpClient.make(url, showing(certificates.foreignClient))),
        "code",
        "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA"
      )
    }))
})

const serve = ({ certificate, privateKey }: Certificates.Identity, authority: string) =>
  LoopbackServer.make(createServer({ cert: certificate + authority, key: privateKey }, (socket) => {
    socket.on("error", () => {})
  })).pipe(Effect.map((server) => server.port))

const verdict = (options: ConnectionOptions): Effect.Effect<string> =>
  Effect.callback<string>((resume) => {
    const socket = connect({ host: "localhost", ...options }, () => {
      resume(Effect.succeed("authorized"))
      socket.destroy()
    })
    socket.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code ?? error.message)))
  })
