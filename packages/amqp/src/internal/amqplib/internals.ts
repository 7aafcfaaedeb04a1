/**
 * The private names of amqplib 2.3 that this library touches, all of them. `internals.test.ts` asserts that each exists
 * and behaves as described here, so that an update of amqplib turns red there.
 */
import type { Channel, ChannelModel } from "amqplib"
import type { WireMessage, WireProperties } from "../../AmqpDriver.ts"

/** What amqplib writes at once: bytes, or the parts of one frame, between which no other channel may write. */
export type Chunk = Buffer | ReadonlyArray<Buffer>

/** `Connection` of amqplib, as far as it is used here. */
export interface Connection {
  readonly serverProperties: Record<string, unknown>
  readonly frameMax: number
  readonly channelMax: number
  /** True once the connection has ended, also when no listener of `close` was there to hear it. */
  readonly expectSocketClose: boolean
  /** Numbers a channel. Called inside `createChannel`, when the channel exists and nothing was written to it. */
  freshChannel(channel: Channel, options: unknown): number
  readonly muxer: Muxer
  /** By channel number. What is written to a buffer goes to the muxer, one chunk of each channel after the other. */
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

/** `ConfirmChannel` of amqplib: the two steps of its `publish`, which copies its arguments into this form first. */
export interface Writer {
  sendMessage(method: WireMessage, properties: WireProperties, content: Buffer): boolean
  /** Keeps amqplib's count of what is unconfirmed in step with the broker's. */
  pushConfirmCallback(callback: undefined): void
}

/** Arguments of the events `ack` and `nack` of a `ConfirmChannel`. */
export interface Confirm {
  readonly deliveryTag: number
  readonly multiple: boolean
}

/** The connection behind amqplib's model of it. */
export const connectionOf = (model: ChannelModel): Connection => model.connection as unknown as Connection

/** The writer behind amqplib's channel. */
export const writerOf = (channel: Channel): Writer => channel as unknown as Writer
