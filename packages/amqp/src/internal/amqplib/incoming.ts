/**
 * The reading half of a connection: frames of messages go to the channels, and all others to amqplib.
 */
import type { DriverDelivery } from "../../AmqpDriver.ts"
import { frameHeaderSize, method } from "../wire/frame.ts"
import { FrameReader } from "../wire/frameReader.ts"
import { readUint16, readUint32 } from "../wire/integers.ts"
import { WireError } from "../wire/WireError.ts"
import type { ChannelState } from "./channelState.ts"
import type { Connection } from "./internals.ts"
import { methodId } from "./internals.ts"

/**
 * Reads what the broker sends: messages and confirms go to the channels, and to amqplib what belongs to its
 * conversations.
 *
 * What breaks the protocol throws a `WireError` into amqplib's loop, which ends the connection with it. Returns a function
 * that says whether the socket is being read, as it is inside the callbacks of what came.
 */
export const readTogether = (
  connection: Connection,
  byNumber: ReadonlyMap<number, ChannelState>
): () => boolean => {
  const stateOf = (channel: number): ChannelState => byNumber.get(channel)!
  const reader = new FrameReader({
    isOpen: (channel) => byNumber.has(channel),
    onDelivery: (channel, consumerTag, delivery) => stateOf(channel).delivered(consumerTag, delivery),
    onReturn: (channel, returned) => stateOf(channel).returned(returned),
    onConfirm: (channel, tag, multiple, ack) => stateOf(channel).confirmed(tag, multiple, ack),
    onCancel: (channel, consumerTag) => stateOf(channel).cancelled(consumerTag),
    onGetOk(channel, delivery) {
      if (!stateOf(channel).isAwaitingReply) throw unasked("a basic.get-ok", channel)
      // amqplib waits for the message as two frames, of which it hands over the fields as they are.
      connection.accept({ id: methodId.getOk, channel, fields: delivery })
      connection.accept({ id: methodId.properties, channel, size: 0, fields: delivery.properties })
    }
  }, connection.frameMax)
  const { stream } = connection
  const decode = connection.recvFrame.bind(connection)
  let isBroken = false
  let isReading = false

  /** Finds the next frame for amqplib; `undefined` once all has been read that came. */
  const next = (): Buffer | undefined => {
    for (;;) {
      const frame = reader.read()
      if (frame !== undefined) {
        check(frame, byNumber)
        return frame
      }
      const chunk = stream.read()
      if (chunk === null) return undefined
      connection.recvSinceLastCheck = true
      reader.push(chunk)
    }
  }

  if (connection.rest.length > 0) reader.push(connection.rest)
  connection.recvFrame = () => {
    if (isBroken) return false
    isReading = true
    try {
      const frame = next()
      // Otherwise amqplib takes the frame, and comes again.
      isReading = frame !== undefined
      if (frame === undefined) return false
      connection.rest = frame
      return decode()
    } catch (error) {
      isReading = false
      isBroken = true
      throw error
    }
  }
  return () => isReading
}

const unasked = (what: string, channel: number): WireError =>
  new WireError(`${what} on channel ${channel}, an answer that nobody had asked for`)

/** Checks a frame for amqplib against the state of its channel. */
const check = (frame: Buffer, byNumber: ReadonlyMap<number, ChannelState>): void => {
  const channel = readUint16(frame, 1)
  if (channel === 0) return
  const id = readUint32(frame, frameHeaderSize)
  // It may come twice.
  if (id === method.channelClose) return
  const state = byNumber.get(channel)
  if (state === undefined) throw new WireError(`the method ${nameOf(id)} on channel ${channel}, which is not open`)
  if (!state.isClosing && !state.isAwaitingReply) throw unasked(`the method ${nameOf(id)}`, channel)
}

const nameOf = (id: number): string => `${id >>> 16}.${id & 0xffff}`

/** What `get` of amqplib resolves with: the delivery takes the place of the method's fields. */
export const deliveryOf = (message: { readonly fields: unknown }): DriverDelivery => message.fields as DriverDelivery
