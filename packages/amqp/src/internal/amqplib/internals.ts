/**
 * The private names of amqplib 2.3 that this library touches, all of them. `internals.test.ts` asserts that each exists
 * and behaves as described here, so that an update of amqplib turns red there.
 */
import type { Channel, ChannelModel } from "amqplib"
import type { Socket } from "node:net"

/** Where amqplib writes the frames of a channel. */
export interface FrameBuffer {
  readonly write: (frame: Buffer) => boolean
  /** Called when the number of the channel is free again. */
  readonly end: () => void
}

/** A frame as amqplib decodes it. */
export interface Frame {
  readonly id?: number
  readonly channel: number
  readonly size?: number
  readonly fields?: unknown
}

/** `Connection` of amqplib, as far as it is used here. */
export interface Connection {
  readonly stream: Socket
  readonly serverProperties: Record<string, unknown>
  readonly frameMax: number
  readonly channelMax: number
  /** True once the connection has ended, also when no listener of `close` was there to hear it. */
  readonly expectSocketClose: boolean
  /** Numbers a channel. Called inside `createChannel`, when the channel exists and nothing was written to it. */
  freshChannel(channel: Channel, options: unknown): number
  /** The numbers in use. `freshChannel` takes the lowest that is not set. */
  readonly freeChannels: { set(number: number): void; clear(number: number): void }
  /** By number, null where a channel has ended. All methods go to the buffer of their channel. */
  readonly channels: ReadonlyArray<{ buffer: FrameBuffer } | null>
  /** Says goodbye. From then on amqplib writes to no channel. */
  closeBecause(reason: string, code: number, done?: () => void): void
  /** False lets the next heartbeat be written. */
  sentSinceLastCheck: boolean
  /** False for two heartbeats ends the connection. */
  recvSinceLastCheck: boolean
  /** What was read from the socket and not decoded. */
  rest: Buffer
  /** Decodes the next frame of `rest`, and reads the socket for more; false if there is no whole one. */
  recvFrame: () => Frame | false
  /** Takes a decoded frame. */
  accept: (frame: Frame) => void
}

/** `Channel` of amqplib, as far as it is used here. */
export interface PrivateChannel {
  /** Whoever waits for the answer to a method, `null` if nobody does. */
  readonly reply: unknown
  /** Says goodbye. From then on amqplib writes to the channel no more. */
  closeBecause: (reason: string, code: number, done?: () => void) => void
}

/** Two frames by the numbers that amqplib gives them. */
export const methodId = { getOk: 0x003c0047, properties: 60 } as const

/** The connection behind amqplib's model of it. */
export const connectionOf = (model: ChannelModel): Connection => model.connection as unknown as Connection

/** What amqplib keeps to itself of a channel. */
export const privateOf = (channel: Channel): Channel & PrivateChannel => channel as unknown as Channel & PrivateChannel
