/**
 * The adapter for amqplib 2.3, the only module that imports it, and the default driver.
 *
 * Four places reach behind amqplib's public surface. Two so that no event can be missed: the handshake of a socket is
 * watched (`internal/handshakeWatch.ts`), and `freshChannel` is wrapped, which is the one moment in which a channel
 * exists and has not yet been written to. Two so that publishing costs no more than with
 * amqplib alone: a message is written as it is, and many in one system call.
 */
import type { Channel, ChannelModel, GetMessage, Message as AmqplibMessage } from "amqplib"
import * as amqplib from "amqplib"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as diagnostics from "node:diagnostics_channel"
import type { Socket } from "node:net"
import type {
  AmqpDriver,
  DriverChannel,
  DriverChannelEvents,
  DriverConnection,
  DriverConnectionEvents,
  DriverConnectOptions,
  DriverDelivery,
  WireMessage,
  WireProperties
} from "./AmqpDriver.ts"
import * as AmqpError from "./AmqpError.ts"
import type { Headers, HeaderValue } from "./AmqpMessage.ts"
import { channelError, closeReason, connectReason, invalidReason } from "./internal/amqplib/errors.ts"
import type { HandshakeWatch } from "./internal/amqplib/handshakeWatch.ts"
import { watch } from "./internal/amqplib/handshakeWatch.ts"

/** What we use of amqplib's `Connection`, which it does not describe in its types. */
interface AmqplibConnection {
  readonly serverProperties: Record<string, unknown>
  readonly frameMax: number
  readonly channelMax: number
  readonly expectSocketClose: boolean
  freshChannel(channel: Channel, options: unknown): number
  readonly muxer: { _readIncoming: () => void; out: { write(chunk: Chunk): boolean } }
  /** By channel number; what is written to a buffer goes to the muxer, one chunk of each channel after the other. */
  readonly channels: ReadonlyArray<{ readonly buffer: { write(chunk: Chunk): boolean } } | null>
  sentSinceLastCheck: boolean
  sendContent: (channel: number, body: Buffer) => boolean
}

/**
 * What `publish` of amqplib's `ConfirmChannel` does after it has copied its arguments into another form, of which a
 * message for the wire is one already.
 */
interface AmqplibWriter {
  sendMessage(method: WireMessage, properties: WireProperties, content: Buffer): boolean
  pushConfirmCallback(callback: undefined): void
}

// How long a goodbye may take, to be flushed or to be answered, before its socket is destroyed.
const lingerMillis = 1000

const frameMax = 131072

const clientProperties = {
  product: "effect-amqp",
  information: "https://www.npmjs.com/package/effect-amqp"
}

const connect = (
  options: DriverConnectOptions,
  events: DriverConnectionEvents
): Effect.Effect<DriverConnection, AmqpError.AmqpError> =>
  Effect.callback((resume) => {
    const address = { host: options.host, port: options.port }
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
        username: options.username,
        password: Redacted.value(options.password),
        vhost: encodeURIComponent(options.vhost),
        heartbeat: options.heartbeat,
        frameMax
      }, {
        ...tlsOptions(options),
        noDelay: true,
        clientProperties: { ...clientProperties, connection_name: options.connectionName },
        signal: abort.signal
      } as amqplib.SocketOptions)
    } finally {
      diagnostics.unsubscribe("net.client.socket", onSocket)
    }

    dialling.then(
      (model) => {
        const connection = model.connection as unknown as AmqplibConnection
        const established = makeConnection(model, connection, events, abort, dialled?.socket)
        if (abandoned || connection.expectSocketClose) {
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
    ...(tls.passphrase === undefined ? {} : { passphrase: Redacted.value(tls.passphrase) }),
    ...(tls.servername === undefined ? {} : { servername: tls.servername }),
    minVersion: tls.minVersion ?? "TLSv1.2"
  }
}

const makeConnection = (
  model: ChannelModel,
  connection: AmqplibConnection,
  events: DriverConnectionEvents,
  abort: AbortController,
  socket: Socket | undefined
): DriverConnection => {
  const channels = new Set<ChannelState>()
  let lastError: unknown
  let closedWith: AmqpError.AmqpError | undefined
  let closing = false

  const finish = (error: AmqpError.AmqpError) => {
    if (closedWith !== undefined) return
    closedWith = error
    for (const channel of channels) channel.finish(error)
    events.onClose(error)
  }
  // amqplib only half-closes the socket, which stays for ever if the peer is gone.
  const linger = () => {
    socket?.destroySoon()
    setTimeout(() => abort.abort(), lingerMillis).unref()
  }

  model.on("error", (error: unknown) => {
    lastError = error
    // After a breach of the protocol amqplib waits for the answer to its goodbye, and that may never come.
    setTimeout(
      () => destroyUnsafe(new AmqpError.AmqpError({ operation: "connection", reason: closeReason(error) })),
      lingerMillis
    ).unref()
  })
  model.on("close", (error: unknown) => {
    const cause = error ?? (closing ? undefined : lastError)
    finish(new AmqpError.AmqpError({ operation: "connection", reason: closeReason(cause) }))
    linger()
  })
  model.on("blocked", (reason: string) => events.onBlocked(reason))
  model.on("unblocked", () => events.onUnblocked())

  if (socket !== undefined) writeInOneGo(connection, socket)

  // createChannel calls freshChannel synchronously, so the wrapped call belongs to the channel being opened.
  let opening: ChannelState | undefined
  const freshChannel = connection.freshChannel.bind(connection)
  connection.freshChannel = (channel, channelOptions) => {
    opening?.attach(channel)
    return freshChannel(channel, channelOptions)
  }

  const destroyUnsafe = (error: AmqpError.AmqpError) => {
    finish(error)
    abort.abort()
  }

  return {
    serverProperties: connection.serverProperties,
    frameMax: connection.frameMax,
    openChannel: (channelOptions, channelEvents) =>
      Effect.callback((resume) => {
        if (closedWith !== undefined) return resume(Effect.fail(closedWith))
        const state = new ChannelState(channelOptions.confirm, channelEvents, channels, destroyUnsafe)
        opening = state
        const opened: Promise<Channel> = channelOptions.confirm ? model.createConfirmChannel() : model.createChannel()
        opening = undefined
        opened.then(
          (channel) => {
            if (state.isAbandoned) {
              channel.close().catch(() => {})
            } else {
              resume(Effect.succeed(makeChannel(channel, state)))
            }
          },
          (error: unknown) => {
            channels.delete(state)
            const limit = error instanceof Error && /No channels left/.test(error.message)
            resume(Effect.fail(
              limit
                ? new AmqpError.AmqpError({
                  operation: "openChannel",
                  reason: new AmqpError.ChannelLimit({ channelMax: connection.channelMax })
                })
                : state.errorOf("openChannel", error)
            ))
          }
        )
        return Effect.sync(() => {
          state.isAbandoned = true
        })
      }),
    close: Effect.suspend(() => {
      // amqplib would wait for an answer that cannot come.
      if (closedWith !== undefined) return Effect.void
      closing = true
      return Effect.ignore(Effect.tryPromise(() => model.close()))
    }),
    destroyUnsafe
  }
}

/** What amqplib writes at once: bytes, or the parts of one frame, between which no other channel may write. */
type Chunk = Buffer | ReadonlyArray<Buffer>

const bodyFrame = 3
const frameEnd = Buffer.from([206])
const frameOverhead = 8

/**
 * amqplib hands every frame to the socket by itself, which is a system call for each, and copies bodies of 2 KiB and
 * more into frames, which costs more than sending them. Corked, the socket takes all frames in one system call, and a
 * body as it is, between the seven bytes before it and the one after it.
 */
const writeInOneGo = (connection: AmqplibConnection, socket: Socket): void => {
  const muxer = connection.muxer
  muxer.out = {
    write(chunk) {
      if (Buffer.isBuffer(chunk)) return socket.write(chunk)
      let writable = true
      for (const part of chunk) writable = socket.write(part)
      return writable
    }
  }
  connection.sendContent = (channel, body) => {
    const { buffer } = connection.channels[channel]!
    const size = connection.frameMax - frameOverhead
    let writable = true
    for (let offset = 0; offset < body.length; offset += size) {
      const part = body.subarray(offset, offset + size)
      const head = Buffer.allocUnsafe(7)
      head[0] = bodyFrame
      head.writeUInt16BE(channel, 1)
      head.writeUInt32BE(part.length, 3)
      writable = buffer.write([head, part, frameEnd])
    }
    connection.sentSinceLastCheck = true
    return writable
  }
  const readIncoming = muxer._readIncoming.bind(muxer)
  muxer._readIncoming = () => {
    socket.cork()
    readIncoming()
    socket.uncork()
  }
}

/** One channel from before its first frame to its end: the only place that knows whether it is over, and why. */
class ChannelState {
  readonly confirm: boolean
  readonly #events: DriverChannelEvents
  readonly #siblings: Set<ChannelState>
  readonly #destroy: (error: AmqpError.AmqpError) => void
  published = 0
  writable = true
  /** Whoever opened it did not wait, and may have another one by the time that this one is closed. */
  isAbandoned = false
  #lastError: unknown
  #closedWith: AmqpError.AmqpError | undefined

  constructor(
    confirm: boolean,
    events: DriverChannelEvents,
    siblings: Set<ChannelState>,
    destroy: (error: AmqpError.AmqpError) => void
  ) {
    this.confirm = confirm
    this.#events = events
    this.#siblings = siblings
    this.#destroy = destroy
    siblings.add(this)
  }

  get isOpen(): boolean {
    return this.#closedWith === undefined
  }

  attach(channel: Channel): void {
    channel.on("error", (error: unknown) => {
      this.#lastError = error
    })
    channel.on("close", () => {
      // When the whole connection is gone its own close event follows in this tick, and knows the cause.
      if (this.#lastError !== undefined) this.finish(this.errorOf("channel", this.#lastError))
      else queueMicrotask(() => this.finish(closedError("channel")))
    })
    channel.on("drain", () => {
      this.writable = true
      if (this.isOpen) this.#events.onDrain()
    })
    channel.on("return", (message: AmqplibMessage) => {
      const fields = message.fields as unknown as { readonly replyCode: number; readonly replyText: string }
      this.#events.onReturn({
        replyCode: fields.replyCode,
        replyText: fields.replyText,
        exchange: message.fields.exchange,
        routingKey: message.fields.routingKey,
        messageId: message.properties.messageId as string | undefined
      })
    })
    if (this.confirm) {
      channel.on("ack", (fields) => this.#confirmed(fields.deliveryTag, fields.multiple, true))
      channel.on("nack", (fields) => this.#confirmed(fields.deliveryTag, fields.multiple, false))
    }
  }

  #confirmed(deliveryTag: number, multiple: boolean, ack: boolean): void {
    if (deliveryTag > this.published) {
      this.#destroy(
        new AmqpError.AmqpError({
          operation: "connection",
          reason: new AmqpError.ProtocolFailed({
            detail: `the broker confirmed the delivery tag ${deliveryTag}, and only ${this.published} were published`
          })
        })
      )
    } else if (this.isOpen) {
      this.#events.onConfirm(deliveryTag, multiple, ack)
    }
  }

  finish(error: AmqpError.AmqpError): void {
    if (this.#closedWith !== undefined) return
    this.#closedWith = error
    this.#siblings.delete(this)
    if (!this.isAbandoned) this.#events.onClose(error)
  }

  /** What an operation failed with: its own refusal, or else whatever closed the channel or the connection. */
  errorOf(operation: string, error: unknown): AmqpError.AmqpError {
    return channelError(operation, error) ??
      (error instanceof TypeError || error instanceof RangeError
        ? new AmqpError.AmqpError({ operation, reason: invalidReason(error) })
        : new AmqpError.AmqpError({ operation, reason: (this.#closedWith ?? closedError(operation)).reason }))
  }

  closeError(operation: string): AmqpError.AmqpError {
    return new AmqpError.AmqpError({ operation, reason: (this.#closedWith ?? closedError(operation)).reason })
  }
}

const closedError = (operation: string): AmqpError.AmqpError =>
  new AmqpError.AmqpError({
    operation,
    reason: new AmqpError.ChannelClosed({ replyCode: undefined, replyText: "it is closed" })
  })

const makeChannel = (channel: Channel, state: ChannelState): DriverChannel => {
  const rpc = <A>(operation: string, call: () => Promise<A>): Effect.Effect<A, AmqpError.AmqpError> =>
    Effect.suspend(() =>
      state.isOpen
        ? Effect.tryPromise({ try: call, catch: (error) => state.errorOf(operation, error) })
        : Effect.fail(state.closeError(operation))
    )

  // amqplib throws synchronously from a write to a channel that is closed or closing.
  const write = (frame: () => void): boolean => {
    if (!state.isOpen) return false
    try {
      frame()
      return true
    } catch {
      return false
    }
  }

  const writer = channel as unknown as AmqplibWriter
  const publish = (message: WireMessage): boolean => {
    const writable = writer.sendMessage(message, wireProperties(message.properties), asBuffer(message.body))
    if (state.confirm) writer.pushConfirmCallback(undefined)
    return writable
  }

  return {
    isOpen: () => state.isOpen,
    isWritable: () => state.writable,
    publishUnsafe(message) {
      if (!state.isOpen) return -1
      try {
        state.writable = publish(message)
      } catch (error) {
        if (error instanceof amqplib.IllegalOperationError) return -1
        throw new AmqpError.AmqpError({ operation: "publish", reason: invalidReason(error) })
      }
      return state.confirm ? ++state.published : 0
    },
    ackUnsafe: (deliveryTag, multiple) => write(() => channel.ack(tagged(deliveryTag), multiple)),
    nackUnsafe: (deliveryTag, multiple, requeue) => write(() => channel.nack(tagged(deliveryTag), multiple, requeue)),
    rejectUnsafe: (deliveryTag, requeue) => write(() => channel.reject(tagged(deliveryTag), requeue)),

    declareExchange: (e) =>
      Effect.asVoid(rpc(`declareExchange ${e.exchange}`, () =>
        channel.assertExchange(e.exchange, e.type, {
          durable: e.durable,
          autoDelete: e.autoDelete,
          internal: e.internal,
          arguments: encodeHeaders(e.arguments)
        }))),
    checkExchange: (exchange) => Effect.asVoid(rpc(`checkExchange ${exchange}`, () => channel.checkExchange(exchange))),
    deleteExchange: (exchange, options) =>
      Effect.asVoid(rpc(`deleteExchange ${exchange}`, () => channel.deleteExchange(exchange, options))),
    bindExchange: (b) =>
      Effect.asVoid(
        rpc(`bindExchange ${b.destination}`, () =>
          channel.bindExchange(b.destination, b.source, b.routingKey, encodeHeaders(b.arguments)))
      ),
    unbindExchange: (b) =>
      Effect.asVoid(
        rpc(`unbindExchange ${b.destination}`, () =>
          channel.unbindExchange(b.destination, b.source, b.routingKey, encodeHeaders(b.arguments)))
      ),

    declareQueue: (q) =>
      rpc(`declareQueue ${q.queue}`, () =>
        channel.assertQueue(q.queue, {
          durable: q.durable,
          exclusive: q.exclusive,
          autoDelete: q.autoDelete,
          arguments: encodeHeaders(q.arguments)
        })),
    checkQueue: (queue) => rpc(`checkQueue ${queue}`, () => channel.checkQueue(queue)),
    deleteQueue: (queue, options) =>
      Effect.map(rpc(`deleteQueue ${queue}`, () => channel.deleteQueue(queue, options)), (ok) => ok.messageCount),
    purgeQueue: (queue) =>
      Effect.map(rpc(`purgeQueue ${queue}`, () => channel.purgeQueue(queue)), (ok) => ok.messageCount),
    bindQueue: (b) =>
      Effect.asVoid(
        rpc(`bindQueue ${b.queue}`, () =>
          channel.bindQueue(b.queue, b.exchange, b.routingKey, encodeHeaders(b.arguments)))
      ),
    unbindQueue: (b) =>
      Effect.asVoid(
        rpc(`unbindQueue ${b.queue}`, () =>
          channel.unbindQueue(b.queue, b.exchange, b.routingKey, encodeHeaders(b.arguments)))
      ),

    get: (queue, options) =>
      Effect.callback((resume) => {
        const operation = `get ${queue}`
        if (!state.isOpen) return resume(Effect.fail(state.closeError(operation)))
        let abandoned = false
        const getting = async (): Promise<GetMessage | false> => channel.get(queue, options)
        getting().then(
          (message) => {
            if (!abandoned) resume(Effect.succeed(message === false ? Option.none() : Option.some(toDelivery(message))))
            // Nobody would acknowledge it, and the broker would keep it for as long as the channel lives.
            else if (message !== false && !options.noAck) write(() => channel.nack(message, false, true))
          },
          (error: unknown) => resume(Effect.fail(state.errorOf(operation, error)))
        )
        return Effect.sync(() => {
          abandoned = true
        })
      }),
    prefetch: (count) => Effect.asVoid(rpc("prefetch", () => channel.prefetch(count))),
    consume: (options, events) =>
      Effect.asVoid(
        rpc(`consume ${options.queue}`, () =>
          channel.consume(options.queue, (message) => {
            if (message === null) events.onCancel()
            else events.onDelivery(toDelivery(message))
          }, {
            consumerTag: options.consumerTag,
            noAck: options.noAck,
            exclusive: options.exclusive,
            arguments: encodeHeaders(options.arguments)
          }))
      ),
    cancel: (consumerTag) => Effect.asVoid(rpc(`cancel ${consumerTag}`, () => channel.cancel(consumerTag))),
    close: Effect.suspend(() => state.isOpen ? Effect.ignore(Effect.tryPromise(() => channel.close())) : Effect.void)
  }
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

// amqplib's ack, nack and reject take a whole message and read only this of it.
const tagged = (deliveryTag: number): AmqplibMessage => ({ fields: { deliveryTag } }) as unknown as AmqplibMessage

const wireProperties = (properties: WireProperties): WireProperties => {
  const headers = properties.headers
  if (headers === undefined) return properties
  const encoded = encodeHeaders(headers)
  return encoded === headers ? properties : { ...properties, headers: encoded }
}

/** amqplib wants timestamps tagged and byte strings as `Buffer`; tables without either are passed as they are. */
const encodeHeaders = (headers: Headers): Headers => {
  for (const key in headers) {
    const value = headers[key]
    if (typeof value === "object" && value !== null) return encodeTable(headers)
  }
  return headers
}

const encodeTable = (table: { readonly [key: string]: HeaderValue | undefined }): Headers => {
  const encoded = Object.create(null) as Record<string, unknown>
  for (const key of Object.keys(table)) encoded[key] = encodeValue(table[key])
  return encoded as Headers
}

const encodeValue = (value: HeaderValue | undefined): unknown => {
  if (typeof value !== "object" || value === null) return value
  if (value instanceof Date) return { "!": "timestamp", value: Math.floor(value.getTime() / 1000) }
  if (value instanceof Uint8Array) return asBuffer(value)
  return Array.isArray(value) ? value.map(encodeValue) : encodeTable(value as Headers)
}

const decodeValue = (value: unknown): HeaderValue => {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value as HeaderValue
  if (Array.isArray(value)) return value.map(decodeValue)
  // A table of another client may have the key "!" as well; what throws here costs the consumer its channel, again and
  // again.
  const tagged = value as { readonly "!"?: unknown; readonly value?: unknown }
  if (tagged["!"] === "timestamp" && typeof tagged.value === "number") return new Date(tagged.value * 1000)
  if (tagged["!"] === "decimal" && typeof tagged.value === "object" && tagged.value !== null) {
    const decimal = tagged.value as { readonly places: number; readonly digits: number }
    return decimal.digits / 10 ** decimal.places
  }
  return decodeTable(value as Record<string, unknown>)
}

const decodeTable = (table: Record<string, unknown>): Headers => {
  const decoded = Object.create(null) as Record<string, HeaderValue>
  for (const key of Object.keys(table)) decoded[key] = decodeValue(table[key])
  return decoded
}

const toDelivery = (message: AmqplibMessage): DriverDelivery => {
  const properties = message.properties
  return {
    deliveryTag: message.fields.deliveryTag,
    redelivered: message.fields.redelivered,
    exchange: message.fields.exchange,
    routingKey: message.fields.routingKey,
    properties: {
      ...properties as unknown as WireProperties,
      headers: properties.headers === undefined ? undefined : decodeTable(properties.headers)
    },
    body: message.content
  }
}

/** amqplib over TCP or TLS. */
export const driver: AmqpDriver = { name: "amqplib", connect }
