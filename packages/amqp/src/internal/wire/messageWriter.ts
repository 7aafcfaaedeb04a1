/**
 * Writes a message for publishing, and the acknowledgements of deliveries, into a buffer that has room for them.
 */
import type { WireMessage } from "../../AmqpDriver.ts"
import { basicClass, frameEnd, frameHeaderSize, frameOverhead, frameType, method, writeFrameHeader } from "./frame.ts"
import { writeInt64, writeUint16, writeUint32 } from "./integers.ts"
import { maxPropertiesSize, propertiesSize, writeProperties } from "./properties.ts"
import { maxShortString, writeShortString } from "./strings.ts"

/** The most that the method frame and the header frame of a message can need besides its header table. */
export const maxMessageHead = frameOverhead + 4 + 2 + 2 * (1 + maxShortString) + 1 + frameOverhead + 12 +
  maxPropertiesSize

/** Bytes of the header frame of a message, with a header table of `headers` bytes. */
export const headerFrameSize = (message: WireMessage, headers: number): number =>
  frameOverhead + 12 + propertiesSize(message.properties, headers)

/** Writes the method frame and the header frame of a message, and returns the offset behind them. */
export const writeMessageHead = (buffer: Buffer, channel: number, message: WireMessage, offset: number): number => {
  let end = offset + frameHeaderSize
  end = writeUint32(buffer, method.basicPublish, end)
  // A number that RabbitMQ does not use any more.
  end = writeUint16(buffer, 0, end)
  end = writeShortString(buffer, message.exchange, end)
  end = writeShortString(buffer, message.routingKey, end)
  buffer[end++] = message.mandatory ? 1 : 0
  writeFrameHeader(buffer, frameType.method, channel, end - offset - frameHeaderSize, offset)
  buffer[end++] = frameEnd

  const header = end
  end = writeUint16(buffer, basicClass, header + frameHeaderSize)
  end = writeUint16(buffer, 0, end)
  end = writeInt64(buffer, message.body.byteLength, end)
  end = writeProperties(buffer, message.properties, end)
  writeFrameHeader(buffer, frameType.header, channel, end - header - frameHeaderSize, header)
  buffer[end++] = frameEnd
  return end
}

/** Bytes of a frame that acknowledges or refuses deliveries. */
export const acknowledgementSize = frameOverhead + 4 + 8 + 1

/** Writes `basic.ack`, and returns the offset behind it. */
export const writeAck = (buffer: Buffer, channel: number, tag: number, multiple: boolean, offset: number): number =>
  writeAcknowledgement(buffer, channel, method.basicAck, tag, multiple ? 1 : 0, offset)

/** Writes `basic.nack`, and returns the offset behind it. */
export const writeNack = (
  buffer: Buffer,
  channel: number,
  tag: number,
  multiple: boolean,
  requeue: boolean,
  offset: number
): number =>
  writeAcknowledgement(buffer, channel, method.basicNack, tag, (multiple ? 1 : 0) | (requeue ? 2 : 0), offset)

/** Writes `basic.reject`, and returns the offset behind it. */
export const writeReject = (buffer: Buffer, channel: number, tag: number, requeue: boolean, offset: number): number =>
  writeAcknowledgement(buffer, channel, method.basicReject, tag, requeue ? 1 : 0, offset)

const writeAcknowledgement = (
  buffer: Buffer,
  channel: number,
  id: number,
  tag: number,
  bits: number,
  offset: number
): number => {
  let end = writeFrameHeader(buffer, frameType.method, channel, acknowledgementSize - frameOverhead, offset)
  end = writeUint32(buffer, id, end)
  end = writeInt64(buffer, tag, end)
  buffer[end] = bits
  buffer[end + 1] = frameEnd
  return end + 2
}
