/**
 * Dials the broker with amqplib, with an abort that destroys the socket at any point of the handshake.
 */
import type { ChannelModel } from "amqplib"
import * as amqplib from "amqplib"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as diagnostics from "node:diagnostics_channel"
import type { Socket } from "node:net"
import type { DriverConnection, DriverConnectionEvents, DriverConnectOptions } from "../../AmqpDriver.ts"
import * as AmqpError from "../../AmqpError.ts"
import { makeConnection } from "./connection.ts"
import { connectReason } from "./errors.ts"
import type { HandshakeWatch } from "./handshakeWatch.ts"
import { watch } from "./handshakeWatch.ts"
import { connectionOf } from "./internals.ts"
import { tlsProblem } from "./tlsMaterial.ts"

// Of the largest frame, as it is offered to the broker and as it is read during the handshake.
const limits = { frameMax: 131072, maxFrameSize: 131072 }

const clientProperties = {
  product: "effect-amqp",
  information: "https://www.npmjs.com/package/effect-amqp"
}

/** Dials once. See `AmqpDriver.connect`. */
export const connect = (
  options: DriverConnectOptions,
  events: DriverConnectionEvents
): Effect.Effect<DriverConnection, AmqpError.AmqpError> =>
  Effect.callback((resume) => {
    const address = { host: options.host, port: options.port }
    const problem = tlsProblem(options.tls)
    if (problem !== undefined) {
      return resume(Effect.fail(
        new AmqpError.AmqpError({ operation: "connect", reason: new AmqpError.InvalidConfiguration(problem) })
      ))
    }
    const abort = new AbortController()
    let dialled: { readonly socket: Socket; readonly watch: HandshakeWatch } | undefined
    let abandoned = false

    // net.connect publishes the socket synchronously, inside the call to amqplib.connect below.
    const onSocket = (message: unknown) => {
      const socket = (message as { readonly socket: Socket }).socket
      dialled = { socket, watch: watch(socket, () => abort.abort()) }
    }
    diagnostics.subscribe("net.client.socket", onSocket)
    let dialling: Promise<ChannelModel>
    try {
      dialling = amqplib.connect({
        protocol: options.tls === undefined ? "amqp" : "amqps",
        hostname: options.host,
        port: options.port,
        vhost: encodeURIComponent(options.vhost),
        heartbeat: options.heartbeat,
        ...limits
      }, {
        ...tlsOptions(options),
        credentials: credentials(options),
        noDelay: true,
        clientProperties: { ...clientProperties, connection_name: options.connectionName },
        signal: abort.signal
      } as amqplib.SocketOptions)
    } finally {
      diagnostics.unsubscribe("net.client.socket", onSocket)
    }

    dialling.then(
      (model) => {
        const established = makeConnection(model, events, abort, dialled?.socket)
        if (abandoned || connectionOf(model).expectSocketClose) {
          established.destroyUnsafe(
            new AmqpError.AmqpError({
              operation: "connect",
              reason: new AmqpError.ConnectionLost({ replyCode: undefined, replyText: "the socket was closed at once" })
            })
          )
        }
        dialled?.watch.release()
        resume(Effect.succeed(established))
      },
      (error: unknown) => {
        abort.abort()
        resume(Effect.fail(
          new AmqpError.AmqpError({
            operation: "connect",
            reason: connectReason(error, {
              address,
              vhost: options.vhost,
              tls: options.tls !== undefined,
              credentialBytes: credentialBytes(options),
              seen: dialled?.watch.seen() ?? { firstBytes: undefined, opening: false, close: undefined }
            })
          })
        ))
      }
    )
    return Effect.sync(() => {
      abandoned = true
      abort.abort()
    })
  })

const credentialBytes = ({ mechanism, password, username }: DriverConnectOptions): number =>
  mechanism === "EXTERNAL" ? 0 : Buffer.byteLength(username) + Buffer.byteLength(Redacted.value(password))

const credentials = ({ mechanism, password, username }: DriverConnectOptions) => {
  switch (mechanism) {
    case "EXTERNAL":
      return amqplib.credentials.external()
    case "AMQPLAIN":
      return amqplib.credentials.amqplain(username, Redacted.value(password))
    case "PLAIN":
    case undefined:
      return amqplib.credentials.plain(username, Redacted.value(password))
  }
}

const tlsOptions = (options: DriverConnectOptions) => {
  const tls = options.tls
  if (tls === undefined) return {}
  const bytes = (pem: string | Uint8Array) => typeof pem === "string" ? pem : Buffer.from(pem)
  return {
    ...(tls.ca === undefined
      ? {}
      : { ca: typeof tls.ca === "string" || tls.ca instanceof Uint8Array ? bytes(tls.ca) : tls.ca.map(bytes) }),
    ...(tls.cert === undefined ? {} : { cert: bytes(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: Redacted.value(tls.key) }),
    ...(tls.pfx === undefined ? {} : { pfx: Buffer.from(Redacted.value(tls.pfx)) }),
    ...(tls.passphrase === undefined ? {} : { passphrase: Redacted.value(tls.passphrase) }),
    ...(tls.servername === undefined ? {} : { servername: tls.servername }),
    minVersion: tls.minVersion ?? "TLSv1.2",
    ...(tls.insecureAcceptAnyCertificate === true ? { rejectUnauthorized: false } : {})
  }
}
