import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Redacted, Schedule, Stream } from "effect"
import { AmqpChannel, AmqpConnection, AmqpDriver, AmqpError, AmqplibDriver, AmqpPublisher } from "effect-amqp"
import * as Certificates from "effect-amqp-test-rig/Certificates"
import * as FaultProxy from "effect-amqp-test-rig/FaultProxy"
import * as HostilePeer from "effect-amqp-test-rig/HostilePeer"
import * as LoopbackServer from "effect-amqp-test-rig/LoopbackServer"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode, describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { createServer } from "node:net"
import { inspect } from "node:util"

const canary = "s3cr3t-canary"

/** Connect once and say why it failed. */
const refusal = (endpoints: AmqpConnection.EndpointInput, options: AmqpConnection.Options = {}) =>
  AmqpConnection.make({ endpoints, connectTimeout: Patience.limit, startup: { max: 0 }, ...options }).pipe(
    Effect.scoped,
    Effect.flip
  )

const at = (peer: { readonly port: number }) => `amqp://guest:${canary}@127.0.0.1:${peer.port}`

/** No password, and nothing that cannot be written down, in anything that an error shows. */
const showsNoSecret = (error: AmqpError.AmqpError): void => {
  const shown = [String(error), error.stack, inspect(error, { depth: 10 }), JSON.stringify(error)].join("\n")
  assert.notInclude(shown, canary)
}

describe("connecting to what is no broker", () => {
  const peers = [
    ["a port where nobody listens", Effect.succeed({ port: 1 }), "ConnectionRefused", /ECONNREFUSED/],
    ["a peer that closes at once", HostilePeer.closing, "ConnectionRefused", /closed/],
    ["a peer that resets at once", HostilePeer.resetting, "ConnectionRefused", /ECONNRESET|EPIPE/],
    ["a peer that resets when it was hardly asked", HostilePeer.hasty, "ConnectionLost", /ECONNRESET|EPIPE/],
    ["a peer that never speaks", HostilePeer.silent, "ConnectTimeout", /2000 ms/],
    ["a peer that drips bytes", HostilePeer.dripping(100), "ConnectTimeout", /2000 ms/],
    ["a peer that speaks HTTP", HostilePeer.http, "ProtocolFailed", /HTTP/],
    ["a peer of another AMQP", HostilePeer.answering(Buffer.from("AMQP\x00\x01\x00\x00")), "ProtocolFailed", /version/],
    ["a peer that speaks TLS", HostilePeer.answering(Buffer.from([0x15, 3, 3, 0, 2, 2, 40])), "TlsFailed", /amqps/],
    ["a peer that sends zeros", HostilePeer.answering(Buffer.alloc(64)), "ProtocolFailed", /frame/i],
    ["a frame of 4 GiB", HostilePeer.answering(Buffer.from([1, 0, 0, 255, 255, 255, 255])), "ProtocolFailed", /size/i]
  ] as const
  for (const [name, peer, tag, says] of peers) {
    it.live(`${name}: ${tag}, within the connect deadline`, () =>
      Effect.gen(function*() {
        const error = yield* refusal(
          at(yield* peer),
          tag === "ConnectTimeout" ? { connectTimeout: "2 seconds" } : {}
        )
        assert.strictEqual(error.reason._tag, tag, error.message)
        assert.match(error.message, says)
        showsNoSecret(error)
      }))
  }

  it.live("a host name without an address: HostNotFound", () =>
    Effect.gen(function*() {
      const error = yield* refusal(`amqp://u:${canary}@no-such-host.invalid`)
      assert.strictEqual(error.reason._tag, "HostNotFound", error.message)
      showsNoSecret(error)
    }))

  it.live("interrupting a connect closes its socket at once", () =>
    Effect.gen(function*() {
      const seen = { accepted: 0, closed: 0 }
      const peer = yield* LoopbackServer.make(createServer((socket) => {
        seen.accepted++
        socket.on("error", () => {}).on("close", () => seen.closed++).resume()
      }))
      const connecting = yield* Effect.forkChild(
        Effect.scoped(AmqpConnection.make({ endpoints: at(peer), connectTimeout: "1 hour" }))
      )
      yield* Patience.until("the connection is dialled", Effect.sync(() => seen.accepted === 1))
      yield* Fiber.interrupt(connecting).pipe(Patience.within("the interruption ends the connect"))
      yield* Patience.until("the socket is closed", Effect.sync(() => seen.closed === 1))
    }))
})

describeWithSharedBroker("connecting to RabbitMQ", () => {
  it.live("tells what the broker says of itself", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      const connection = yield* AmqpConnection.make({ endpoints: Redacted.make(url) })
      const state = yield* connection.state
      assert.strictEqual(state._tag, "Connected")
      if (state._tag === "Connected") assert.strictEqual(state.serverProperties["product"], "RabbitMQ")
    }))

  it.live("a get that is interrupted leaves its message in the queue", () =>
    Effect.gen(function*() {
      const { host, port, url } = yield* SharedRabbitMq.make
      const proxy = yield* FaultProxy.make({ host, port })
      yield* Effect.gen(function*() {
        const channel = yield* AmqpChannel.make()
        const publisher = yield* AmqpPublisher.make()
        const { queue } = yield* channel.declareQueue({ name: "", exclusive: true })
        yield* channel.get(queue)
        yield* publisher.publish({ routingKey: queue, body: "kept" })
        yield* proxy.pause("down")
        const getting = yield* Effect.forkChild(channel.get(queue), { startImmediately: true })
        yield* Effect.sleep("50 millis")
        assert.isUndefined(getting.pollUnsafe())
        yield* Fiber.interrupt(getting)
        yield* proxy.resume("down")
        const again = yield* Effect.repeat(channel.get(queue), {
          schedule: Schedule.spaced("20 millis"),
          until: Option.isSome
        }).pipe(Patience.within("the message is in the queue again"))
        assert.isTrue(Option.isSome(again))
        if (Option.isSome(again)) assert.isTrue(again.value.redelivered)
      }).pipe(Effect.provide(AmqpConnection.layer({ endpoints: Redacted.make(proxy.through(url)) })))
    }))

  it.live("a channel whose opening was interrupted is closed without a word to whoever opened it", () =>
    Effect.gen(function*() {
      const { host, password, port, username } = yield* SharedRabbitMq.make
      const silent = { onBlocked() {}, onUnblocked() {}, onClose() {} }
      const connection = yield* Effect.acquireRelease(
        AmqplibDriver.driver.connect({
          host,
          port,
          tls: undefined,
          vhost: "/",
          username,
          password: Redacted.make(password),
          heartbeat: 10,
          connectionName: "abandons"
        }, silent),
        (connection) => connection.close
      )
      let told = 0
      const open = connection.openChannel({ confirm: true }, { ...AmqpDriver.noChannelEvents, onClose: () => told++ })
      yield* Fiber.interrupt(yield* Effect.forkChild(open, { startImmediately: true }))
      const next = yield* open
      // By its answer the broker has closed the other one.
      yield* next.checkExchange("amq.direct")
      assert.strictEqual(told, 0)
    }))

  it.live("a wrong password: AuthenticationRefused, at once and without the password", () =>
    Effect.gen(function*() {
      const { host, port } = yield* SharedRabbitMq.make
      const error = yield* refusal({ host, port }, {
        username: "guest",
        password: Redacted.make(canary),
        startup: { max: 100 }
      })
      assert.strictEqual(error.reason._tag, "AuthenticationRefused", error.message)
      assert.isFalse(error.isRetryable)
      showsNoSecret(error)
    }))

  it.live("an unknown virtual host: VhostRefused, with the broker's own words", () =>
    Effect.gen(function*() {
      const { host, password, port, username } = yield* SharedRabbitMq.make
      const error = yield* refusal({ host, port }, {
        username,
        password: Redacted.make(password),
        vhost: "nope",
        startup: { max: 100 }
      })
      assert.strictEqual(error.reason._tag, "VhostRefused", error.message)
      assert.match(error.message, /vhost nope not found/)
    }))

  it.live("the dead ones of several endpoints are passed over", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      const silent = yield* HostilePeer.silent
      const connection = yield* AmqpConnection.make({
        endpoints: ["amqp://127.0.0.1:1", at(silent), url],
        connectTimeout: "5 seconds",
        startup: { max: 0 }
      })
      assert.strictEqual((yield* connection.state)._tag, "Connected")
    }))

  it.live(
    "a broker that falls silent is noticed by the heartbeat, and the connection comes back",
    () =>
      Effect.gen(function*() {
        const { host, port, url } = yield* SharedRabbitMq.make
        const proxy = yield* FaultProxy.make({ host, port })
        const connection = yield* AmqpConnection.make({
          endpoints: proxy.through(url),
          heartbeat: "1 second",
          retry: { interval: "100 millis", max: 100 }
        })
        yield* proxy.setMode("blackhole")
        const lost = yield* connection.changes.pipe(
          Stream.filter((state) => state._tag === "Reconnecting"),
          Stream.runHead,
          Patience.within("the connection notices that RabbitMQ is silent")
        )
        assert.isTrue(lost._tag === "Some" && lost.value._tag === "Reconnecting")
        yield* proxy.setMode("pass")
        yield* connection.changes.pipe(
          Stream.filter((state) => state._tag === "Connected" && state.epoch > 1),
          Stream.runHead,
          Patience.within("the connection comes back")
        )
      })
  )

  it.live(
    "a broker that breaks the protocol and answers no goodbye is left without waiting for its heartbeats to end",
    () =>
      Effect.gen(function*() {
        const { host, port, url } = yield* SharedRabbitMq.make
        const proxy = yield* FaultProxy.make({ host, port })
        const connection = yield* AmqpConnection.make({ endpoints: proxy.through(url) })
        yield* proxy.pause("up")
        // An ack on a channel that nobody has opened.
        yield* proxy.inject(
          Buffer.from("0100 4d00 0000 0d00 3c00 5000 0000 0000 0000 0100 ce".replaceAll(" ", ""), "hex")
        )
        const lost = yield* connection.changes.pipe(
          Stream.filter((state) => state._tag === "Reconnecting"),
          Stream.runHead,
          Patience.within("the connection notices that the protocol was broken")
        )
        assert.isTrue(lost._tag === "Some" && lost.value._tag === "Reconnecting")
        if (lost._tag === "Some" && lost.value._tag === "Reconnecting") {
          assert.match(lost.value.cause.message, /a basic\.ack on channel 77, which is not open/)
        }
      })
  )

  it.live(
    "cut after every so many bytes of the handshake and of the set-up, it ends in a typed error or a connection",
    () =>
      Effect.gen(function*() {
        const { host, port, url } = yield* SharedRabbitMq.make
        const proxy = yield* FaultProxy.make({ host, port })
        for (const how of ["rst", "fin"] as const) {
          for (let bytes = 1; bytes < 900; bytes += 60) {
            yield* proxy.cutAfter("down", bytes, how)
            const exit = yield* AmqpConnection.make({
              endpoints: proxy.through(url),
              connectTimeout: "2 seconds",
              startup: { max: 0 },
              retry: { interval: "10 millis", max: 0 }
            }).pipe(
              Effect.flatMap((connection) => Effect.raceFirst(connection.finished, Effect.sleep("50 millis"))),
              Effect.scoped,
              Effect.result
            )
            if (exit._tag === "Failure") assert.instanceOf(exit.failure, AmqpError.AmqpError)
          }
        }
      })
  )
})

describeWithOwnNode("a connection to a broker that goes away", () => {
  it.live(
    "a forced close is noticed without an error event, and leaves the broker's words in the state",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        const connection = yield* AmqpConnection.make({ endpoints: broker.url, retry: { interval: "200 millis" } })
        for (let round = 1; round <= 5; round++) {
          yield* broker.closeAllConnections(`round ${round}`)
          const lost = yield* connection.changes.pipe(
            Stream.filter((state) => state._tag === "Reconnecting"),
            Stream.runHead,
            Patience.within("the connection notices the forced close")
          )
          if (lost._tag === "Some" && lost.value._tag === "Reconnecting") {
            assert.include(lost.value.cause.message, `round ${round}`)
          }
          yield* connection.changes.pipe(
            Stream.filter((state) => state._tag === "Connected" && state.epoch === round + 1),
            Stream.runHead,
            Patience.within("the connection comes back")
          )
        }
      })
  )

  it.live(
    "a deleted virtual host ends in ReconnectAbandoned because of VhostRefused, not in an endless loop",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        yield* broker.addVhost("doomed")
        const connection = yield* AmqpConnection.make({
          endpoints: `${broker.url}/doomed`,
          retry: { interval: "100 millis", max: 3 }
        })
        yield* broker.deleteVhost("doomed")
        const error = yield* Effect.flip(connection.finished).pipe(Patience.within("the connection gives up"))
        assert.instanceOf(error, AmqpError.AmqpError)
        if (error instanceof AmqpError.AmqpError) {
          assert.strictEqual(error.reason._tag, "ReconnectAbandoned")
          if (error.reason._tag === "ReconnectAbandoned") assert.strictEqual(error.reason.last._tag, "VhostRefused")
        }
      })
  )

  it.live(
    "nothing is left at the broker, nor here, after connections, channels and failures",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        const handles = () => process.getActiveResourcesInfo().filter((name) => name.startsWith("TCPSocket")).length
        const before = handles()
        for (let round = 0; round < 20; round++) {
          yield* Effect.gen(function*() {
            const channel = yield* AmqpChannel.make()
            const publisher = yield* AmqpPublisher.make()
            yield* channel.declareQueue({ name: "leak", durable: false })
            yield* publisher.publish({ routingKey: "leak", body: round })
            yield* Effect.ignore(channel.checkQueue("missing"))
            yield* Effect.ignore(publisher.publish({ exchange: "missing", routingKey: "x", body: round }))
          }).pipe(
            Effect.provide(AmqpConnection.layer({ endpoints: broker.url })),
            Effect.scoped
          )
        }
        yield* Patience.until(
          "RabbitMQ has no connection, channel or consumer left",
          Effect.map(broker.counts, ({ channels, connections, consumers }) => connections + channels + consumers === 0)
        )
        yield* Patience.until("this process has no socket left", Effect.sync(() => handles() <= before))
      })
  )
})

describeWithOwnNode("TLS", () => {
  it.live("is checked on both sides, and each way to get it wrong has its name", () =>
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
      const endpoint = { host: "127.0.0.1", port: broker.tlsPort!, tls: true }
      const client = {
        ca: certificates.authority,
        cert: certificates.client.certificate,
        key: Redacted.make(certificates.client.privateKey)
      }
      const right = yield* AmqpConnection.make({ endpoints: endpoint, tls: client, startup: { max: 0 } })
      assert.strictEqual((yield* right.state)._tag, "Connected")
      yield* AmqpConnection.make({
        endpoints: { ...endpoint, host: "localhost" },
        tls: { ...client, minVersion: "TLSv1.3" },
        startup: { max: 0 }
      })

      const problem = Effect.fnUntraced(function*(tls: AmqpConnection.TlsOptions, port = broker.tlsPort!) {
        const error = yield* refusal({ ...endpoint, port }, { tls })
        JSON.stringify(error)
        return error.reason._tag === "TlsFailed" ? error.reason.problem : error.message
      })
      assert.strictEqual(yield* problem({ ...client, ca: undefined }), "UntrustedCertificate")
      assert.strictEqual(yield* problem({ ...client, ca: certificates.foreignAuthority }), "UntrustedCertificate")
      assert.strictEqual(yield* problem({ ...client, servername: "elsewhere.example" }), "HostMismatch")
      assert.strictEqual(yield* problem({ ca: certificates.authority }), "ClientCertificateRequired")
      assert.strictEqual(
        yield* problem({
          ...client,
          cert: certificates.foreignClient.certificate,
          key: Redacted.make(certificates.foreignClient.privateKey)
        }),
        "ClientCertificateRefused"
      )
      assert.strictEqual(yield* problem(client, broker.port), "NotTls")

      const plain = yield* refusal({ host: "127.0.0.1", port: broker.tlsPort! })
      assert.isTrue(["TlsFailed", "ConnectionRefused"].includes(plain.reason._tag), plain.message)

      const mismatched = yield* refusal(endpoint, {
        tls: { ...client, key: Redacted.make(certificates.foreignClient.privateKey) }
      })
      assert.strictEqual(mismatched.reason._tag, "InvalidConfiguration", mismatched.message)
    }))

  it.live("an expired certificate is CertificateExpired", () =>
    Effect.gen(function*() {
      const certificates = yield* Certificates.make
      const broker = yield* RabbitMq.make({ tls: { authority: certificates.authority, ...certificates.expiredServer } })
      const error = yield* refusal({ host: "127.0.0.1", port: broker.tlsPort!, tls: true }, {
        tls: { ca: certificates.authority }
      })
      assert.deepInclude(error.reason, { _tag: "TlsFailed", problem: "CertificateExpired" })
    }))
})
