/**
 * The private names of amqplib 2.3 that this library touches, all of them. `internals.test.ts` asserts that each exists
 * and behaves as described here, so that an update of amqplib turns red there.
 */
import type { Channel, ChannelModel, Message } from "amqplib"
import type { WireMessage, WireProperties } from "../../AmqpDriver.ts"

/** Bytes of a frame around its payload. */
export const frameOverhead = 8

/** What amqplib writes at once: bytes, or the parts of one frame, between which no other channel may write. */
export type Chunk = Buffer | ReadonlyArray<Buffer>

/** `Connection` of amqplib, as far as it is used here. */
export interface Connection {
  readonly serverProperties: Record<string, unknown>
  readonly frameMax: number
  readonly channelMax: number
  /** True once the connection has ended, also when no listener of `close` was there to hear it. */
  readonly expectSocketClose: boolean
  /** The largest payload of a frame that is read. A larger one is an error as soon as the head of its frame is here. */
  maxFrameSize: number
  /** Takes each frame that was read, unless the connection is closing. `id` is that of a method. */
  accept: (frame: { readonly channel: number; readonly id?: number }) => void
  /** Numbers a channel. Called inside `createChannel`, when the channel exists and nothing was written to it. */
  freshChannel(channel: Channel, options: unknown): number
  /** The numbers in use. `freshChannel` takes the lowest that is not set. */
  readonly freeChannels: { set(number: number): void; clear(number: number): void }
  readonly muxer: Muxer
  /** By number, null where a channel has ended. What is written to a buffer goes to the muxer, one chunk of each channel after the other. */
  readonly channels: ReadonlyArray<{ readonly buffer: { write(chunk: Chunk): boolean } } | null>
  /** False lets the next heartbeat be written. */
  sentSinceLastCheck: boolean
  /** Writes the body frames of a message. Called by `sendMessage` for messages of 2 KiB and more. */
  sendContent: (channel: number, body: Buffer) => boolean
}

/** `Mux` of amqplib: moves what the channels wrote to the socket, once a turn. */
export interface Muxer {
  _readIncoming: () => void
  out: { write(chunk: Chunk): boolean }
}

/** The step of a channel's `publish` that writes: before it, `publish` copies its arguments into this form. */
export interface Writer {
  sendMessage(method: WireMessage, properties: WireProperties, content: Buffer): boolean
}

/** Fields of `basic.ack` and `basic.nack`, as the events of these names carry them. */
export interface Confirm {
  readonly deliveryTag: number
  readonly multiple: boolean
}

/** A consumer's callback. It is told of a cancel by null. */
export type Consumer = (message: Message | null) => void

/** The connection behind amqplib's model of it. */
export const connectionOf = (model: ChannelModel): Connection => model.connection as unknown as Connection

/** The writer behind amqplib's channel. */
export const writerOf = (channel: Channel): Writer => channel as unknown as Writer

/**
 * Takes the confirms of a channel away from amqplib, which keeps a list of what is unconfirmed. A confirm for a tag that
 * was never sent makes that list as long as the tag, and the end of the channel walks over it.
 */
export const onConfirm = (channel: Channel, confirmed: (confirm: Confirm, ack: boolean) => void): void => {
  channel.removeAllListeners("ack").on("ack", (confirm: Confirm) => confirmed(confirm, true))
  channel.removeAllListeners("nack").on("nack", (confirm: Confirm) => confirmed(confirm, false))
}

/**
 * Takes the cancels of a channel away from amqplib, which fails at the second for one consumer and at a delivery for a
 * consumer that was cancelled. RabbitMQ 4.3 cancels a consumer once for each message that is not acknowledged in time,
 * and delivers to it again when all of them are settled: then it is cancelled from here, and the message given back.
 */
export const cancelOnce = (channel: Channel): void => {
  const { consumers } = channel as unknown as { readonly consumers: Map<string, Consumer> }
  channel.removeAllListeners("cancel").on("cancel", ({ consumerTag }: { readonly consumerTag: string }) => {
    const consumer = consumers.get(consumerTag)
    if (consumer === undefined) return
    let isCancelled = false
    consumers.set(consumerTag, (message) => {
      if (message === null) return
      if (!isCancelled) channel.cancel(consumerTag).catch(() => {})
      isCancelled = true
      channel.nack(message, false, true)
    })
    consumer(null)
  })
}
