/**
 * Frames: seven bytes of type, channel and size, then the payload, then one byte that ends it.
 */
import { writeUint16, writeUint32 } from "./integers.ts"

/** The types of frames. */
export const frameType = { method: 1, header: 2, body: 3, heartbeat: 8 } as const

/** The byte behind the payload of each frame. */
export const frameEnd = 0xce

/** Bytes in front of the payload. */
export const frameHeaderSize = 7

/** Bytes of a frame that are not its payload. */
export const frameOverhead = 8

/** Class and method, as they stand at the start of a method frame. */
export const method = {
  channelOpenOk: 0x0014000b,
  channelClose: 0x00140028,
  basicPublish: 0x003c0028,
  basicCancel: 0x003c001e,
  basicReturn: 0x003c0032,
  basicDeliver: 0x003c003c,
  basicGetOk: 0x003c0047,
  basicAck: 0x003c0050,
  basicReject: 0x003c005a,
  basicNack: 0x003c0078
} as const

/** The class of content, as it stands in a header frame. */
export const basicClass = 60

/** Writes what stands in front of a payload, and returns the offset of the payload. */
export const writeFrameHeader = (
  buffer: Buffer,
  type: number,
  channel: number,
  size: number,
  offset: number
): number => {
  buffer[offset] = type
  writeUint16(buffer, channel, offset + 1)
  return writeUint32(buffer, size, offset + 3)
}
