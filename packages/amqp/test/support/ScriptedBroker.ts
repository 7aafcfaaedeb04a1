/**
 * A broker on a loopback port that answers by the protocol, and sends whatever else a test tells it to, legal or not.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import * as LoopbackServer from "effect-amqp-test-rig/LoopbackServer"
import { createRequire } from "node:module"
import type { Socket } from "node:net"
import { createServer } from "node:net"
import { dirname, join } from "node:path"
import type { TlsOptions } from "node:tls"
import { createServer as createTlsServer } from "node:tls"

type Fields = Readonly<Record<string, unknown>>

/** amqplib's codec, which is not public: here it plays the broker's part. */
const require = createRequire(import.meta.url)
const defs = require(join(dirname(require.resolve("amqplib")), "lib", "defs.js")) as {
  readonly encodeMethod: (id: number, channel: number, fields: Fields) => Buffer
  readonly encodeProperties: (id: number, channel: number, size: number, properties: Fields) => Buffer
  readonly decode: (id: number, bytes: Buffer) => Fields
  readonly info: (id: number) => { readonly name: string }
  readonly BasicProperties: number
} & Record<string, number>

/** A method that the client sent. */
export interface Received {
  /** As amqplib names it: `BasicPublish`, `ChannelOpen`, … */
  readonly name: string
  readonly channel: number
  readonly fields: Fields
}

/** One connection of the broker. */
export interface Peer {
  /** Every method that the client sent, in order. */
  readonly received: Array<Received>
  /** Sends methods, each a name, a channel and its fields, in one write. */
  readonly send: (...methods: ReadonlyArray<readonly [name: string, channel: number, fields: Fields]>) => void
  readonly write: (bytes: Uint8Array) => void
  readonly socket: Socket
}

export interface Script {
  /** Sees each method first. Where it returns true the broker gives no answer of its own. */
  readonly on?: (received: Received, peer: Peer) => boolean | undefined | void
  readonly mechanisms?: string
  /** Speaks TLS, as `node:tls` is told to. */
  readonly tls?: TlsOptions
  readonly tune?: { readonly channelMax?: number; readonly frameMax?: number }
}

export interface ScriptedBroker extends LoopbackServer.LoopbackServer {
  readonly peers: Array<Peer>
}

const answers: Record<string, readonly [name: string, fields: (fields: Fields) => Fields]> = {
  ConnectionOpen: ["ConnectionOpenOk", () => ({})],
  ConnectionClose: ["ConnectionCloseOk", () => ({})],
  ConnectionUpdateSecret: ["ConnectionUpdateSecretOk", () => ({})],
  ChannelOpen: ["ChannelOpenOk", () => ({})],
  ChannelClose: ["ChannelCloseOk", () => ({})],
  ConfirmSelect: ["ConfirmSelectOk", () => ({})],
  QueueDeclare: ["QueueDeclareOk", ({ queue }) => ({ queue, messageCount: 0, consumerCount: 0 })],
  ExchangeDeclare: ["ExchangeDeclareOk", () => ({})],
  BasicQos: ["BasicQosOk", () => ({})],
  BasicConsume: ["BasicConsumeOk", ({ consumerTag }) => ({ consumerTag })],
  BasicCancel: ["BasicCancelOk", ({ consumerTag }) => ({ consumerTag })]
}

/** The bytes of a method. */
export const method = (name: string, channel: number, fields: Fields = {}): Buffer =>
  defs.encodeMethod(defs[name]!, channel, fields)

/** The bytes of a delivery: its method, its header and, if it has a body, one body frame. */
export const delivery = (channel: number, fields: Fields, properties: Fields, body: Buffer): Buffer =>
  Buffer.concat([
    method("BasicDeliver", channel, { redelivered: false, exchange: "", routingKey: "", ...fields }),
    defs.encodeProperties(defs.BasicProperties, channel, body.length, properties),
    body.length === 0 ? body : frame(3, channel, body)
  ])

/** The bytes of a frame. */
export const frame = (type: number, channel: number, payload: Uint8Array, size = payload.length): Buffer => {
  const head = Buffer.alloc(7)
  head[0] = type
  head.writeUInt16BE(channel, 1)
  head.writeUInt32BE(size, 3)
  return Buffer.concat([head, payload, Buffer.from([206])])
}

const serve = (socket: Socket, script: Script): Peer => {
  const peer: Peer = {
    received: [],
    send: (...methods) =>
      peer.write(Buffer.concat(methods.map(([name, channel, fields]) => method(name, channel, fields)))),
    write: (bytes) => void (socket.destroyed || socket.write(bytes)),
    socket
  }
  const handle = (received: Received) => {
    peer.received.push(received)
    if (script.on?.(received, peer) === true) return
    if (received.name === "ConnectionStartOk") {
      return peer.send(["ConnectionTune", 0, { channelMax: 2047, frameMax: 131072, heartbeat: 0, ...script.tune }])
    }
    const answer = answers[received.name]
    if (answer !== undefined) peer.send([answer[0], received.channel, answer[1](received.fields)])
    if (received.name === "ConnectionClose" || received.name === "ConnectionCloseOk") socket.end()
  }
  let pending: Buffer = Buffer.alloc(0)
  let greeted = false
  socket.setNoDelay(true)
  socket.on("error", () => {})
  socket.on("data", (chunk) => {
    pending = Buffer.concat([pending, chunk])
    if (!greeted) {
      greeted = true
      pending = pending.subarray(8)
      peer.send(["ConnectionStart", 0, {
        serverProperties: { product: "scripted" },
        mechanisms: Buffer.from(script.mechanisms ?? "PLAIN AMQPLAIN"),
        locales: Buffer.from("en_US")
      }])
    }
    while (pending.length >= 7 && pending.length >= pending.readUInt32BE(3) + 8) {
      const end = pending.readUInt32BE(3) + 7
      const payload = pending.subarray(7, end)
      if (pending[0] === 1) {
        const id = payload.readUInt32BE(0)
        handle({
          name: defs.info(id).name,
          channel: pending.readUInt16BE(1),
          fields: defs.decode(id, payload.subarray(4))
        })
      }
      pending = pending.subarray(end + 1)
    }
  })
  return peer
}

/** Starts a broker. It and its connections end with the scope. */
export const make = (script: Script = {}): Effect.Effect<ScriptedBroker, never, Scope.Scope> =>
  Effect.suspend(() => {
    const peers: Array<Peer> = []
    const accept = (socket: Socket) => void peers.push(serve(socket, script))
    return Effect.map(
      LoopbackServer.make(script.tls === undefined ? createServer(accept) : createTlsServer(script.tls, accept)),
      (server) => ({ ...server, peers })
    )
  })
