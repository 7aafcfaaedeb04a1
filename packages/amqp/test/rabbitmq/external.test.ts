import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher } from "effect-amqp"
import * as Certificates from "effect-amqp-test-rig/Certificates"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"

describeWithOwnNode("SASL EXTERNAL on RabbitMQ", () => {
  it.live("logs in the user of the client's certificate, and says why where that cannot be", () =>
    Effect.gen(function*() {
      const certificates = yield* Certificates.make
      const broker = yield* RabbitMq.make({
        plugins: ["rabbitmq_auth_mechanism_ssl"],
        settings: { "auth_mechanisms.1": "EXTERNAL", "auth_mechanisms.2": "PLAIN", ssl_cert_login_from: "common_name" },
        tls: { authority: certificates.authority, ...certificates.server, verifyPeer: true }
      })
      const tls: AmqpConnection.TlsOptions = {
        ca: certificates.authority,
        cert: certificates.client.certificate,
        key: Redacted.make(certificates.client.privateKey)
      }
      const external: AmqpConnection.Options = {
        endpoints: { host: "127.0.0.1", port: broker.tlsPort!, tls: true },
        tls,
        mechanism: "EXTERNAL",
        connectTimeout: Patience.limit,
        startup: { max: 0 },
        retry: { interval: "100 millis", max: 10_000 }
      }
      const refusal = (options: AmqpConnection.Options) =>
        Effect.flip(Effect.scoped(AmqpConnection.make({ ...external, ...options })))

      const unknown = yield* refusal({})
      assert.deepInclude(unknown.reason, { _tag: "AuthenticationRefused" }, unknown.message)
      assert.include(unknown.message, "ssl_cert_login_from")
      assert.isFalse(unknown.isRetryable)

      const nameless = yield* refusal({ tls: { ca: certificates.authority } })
      const plain = yield* refusal({ endpoints: { host: "127.0.0.1", port: broker.port }, tls: undefined })
      for (const error of [nameless, plain]) {
        assert.deepInclude(error.reason, { _tag: "AuthenticationRefused" }, error.message)
        assert.include(error.message, "EXTERNAL")
        assert.isFalse(error.isRetryable, error.message)
      }

      yield* broker.addUser("client", "never used")
      yield* broker.setPermissions("client", "/", { configure: ".*", write: ".*", read: ".*" })
      yield* Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* channel.declareQueue({ name: "q" })
        // RabbitMQ compares it with the user that it has logged in.
        yield* publisher.publish({ routingKey: "q", body: "first", userId: "client" })
        const stranger = yield* Effect.flip(publisher.publish({ routingKey: "q", body: "x", userId: "guest" }))
        assert.strictEqual(stranger.reason._tag, "InvalidMessage", stranger.message)
        yield* broker.closeAllConnections("the test closes it")
        yield* publisher.publish({ routingKey: "q", body: "second", userId: "client" })
        yield* Patience.until(
          "both messages are there",
          Effect.map(channel.checkQueue("q"), ({ messageCount }) => messageCount === 2)
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Layer.mergeAll(AmqpChannel.layer(), AmqpPublisher.layer({ confirmTimeout: Patience.limit })).pipe(
            Layer.provideMerge(AmqpConnection.layer(external))
          )
        )
      )
    }))
})
