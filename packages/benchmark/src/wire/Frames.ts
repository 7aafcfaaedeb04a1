/**
 * The part of AMQP 0-9-1's framing that the floor and the instant server need: writes methods and publishes, and reads
 * frames without their bodies.
 */

/** The bytes with which a client greets. */
export const protocolHeader: Buffer = Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1])

const methodFrame = 1
const headerFrame = 2
const bodyFrame = 3
const heartbeatFrame = 8
const frameEnd = 0xce
const overhead = 8

const frame = (type: number, channel: number, payload: Uint8Array): Buffer => {
  const bytes = Buffer.allocUnsafe(payload.byteLength + overhead)
  bytes.writeUInt8(type, 0)
  bytes.writeUInt16BE(channel, 1)
  bytes.writeUInt32BE(payload.byteLength, 3)
  bytes.set(payload, 7)
  bytes.writeUInt8(frameEnd, payload.byteLength + 7)
  return bytes
}

/** A heartbeat. */
export const heartbeat: Buffer = frame(heartbeatFrame, 0, new Uint8Array(0))

/** A short string, of up to 255 bytes. */
export const shortString = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from([bytes.byteLength]), bytes])
}

/** A long string. */
export const longString = (text: string | Buffer): Buffer => {
  const bytes = Buffer.from(text)
  const length = Buffer.allocUnsafe(4)
  length.writeUInt32BE(bytes.byteLength)
  return Buffer.concat([length, bytes])
}

/** A header table of flags and of tables of flags. */
export const table = (entries: { readonly [key: string]: boolean | string | Buffer }): Buffer =>
  longString(Buffer.concat(
    Object.entries(entries).flatMap(([key, value]) =>
      typeof value === "boolean"
        ? [shortString(key), Buffer.from("t"), Buffer.from([value ? 1 : 0])]
        : typeof value === "string"
        ? [shortString(key), Buffer.from("S"), longString(value)]
        : [shortString(key), Buffer.from("F"), value]
    )
  ))

/** A number of 1, 2, 4 or 8 bytes. */
export const integer = (value: number, bytes: 1 | 2 | 4 | 8): Buffer => {
  const buffer = Buffer.alloc(bytes)
  buffer.writeUIntBE(value, bytes === 8 ? 2 : 0, bytes === 8 ? 6 : bytes)
  return buffer
}

/** A method with its arguments. */
export const method = (
  channel: number,
  classId: number,
  methodId: number,
  ...fields: ReadonlyArray<Buffer>
): Buffer => frame(methodFrame, channel, Buffer.concat([integer(classId, 2), integer(methodId, 2), ...fields]))

/** Frames of a message: its method, its header and its body. */
const content = (
  channel: number,
  methodFrame: Buffer,
  properties: ReadonlyArray<Buffer>,
  body: Uint8Array,
  frameMax: number
): Buffer => {
  const frames = [
    methodFrame,
    frame(
      headerFrame,
      channel,
      Buffer.concat([integer(60, 2), integer(0, 2), integer(body.byteLength, 8), ...properties])
    )
  ]
  for (let at = 0; at < body.byteLength; at += frameMax - overhead) {
    frames.push(frame(bodyFrame, channel, body.subarray(at, at + frameMax - overhead)))
  }
  return Buffer.concat(frames)
}

const persistent = integer(2, 1)

/** A whole `basic.publish` to the default exchange: persistent and mandatory, as all contenders publish. */
export const publish = (channel: number, queue: string, body: Uint8Array, frameMax: number): Buffer => {
  const mandatory = 1
  const deliveryMode = 0x1000
  return content(
    channel,
    method(channel, 60, 40, integer(0, 2), shortString(""), shortString(queue), integer(mandatory, 1)),
    [integer(deliveryMode, 2), persistent],
    body,
    frameMax
  )
}

/** A whole `basic.deliver` of a persistent message, and where its delivery tag stands. */
export const deliver = (
  channel: number,
  consumerTag: string,
  queue: string,
  body: Uint8Array
): { readonly bytes: Buffer; readonly tagAt: number } => {
  const contentTypeDeliveryModeMessageId = 0x9080
  const tag = shortString(consumerTag)
  return {
    bytes: content(
      channel,
      method(channel, 60, 60, tag, integer(0, 8), integer(0, 1), shortString(""), shortString(queue)),
      [
        integer(contentTypeDeliveryModeMessageId, 2),
        shortString("application/octet-stream"),
        persistent,
        shortString("0")
      ],
      body,
      body.byteLength + overhead
    ),
    tagAt: 11 + tag.byteLength
  }
}

/** A `basic.ack`. */
export const ack = (channel: number, tag: number, multiple: boolean): Buffer =>
  method(channel, 60, 80, integer(tag, 8), integer(multiple ? 1 : 0, 1))

/** Called by a reader for each frame. */
export interface FrameEvents {
  /** The arguments begin at `at` of `bytes`, which are only good during the call. */
  readonly onMethod: (channel: number, classId: number, methodId: number, bytes: Buffer, at: number) => void
  /** A content header; bodies of these many bytes in all follow. */
  readonly onHeader: (channel: number, bodySize: number) => void
  /** A body frame of these many bytes has begun. */
  readonly onBody: (channel: number, bytes: number) => void
}

/** Cuts a stream of bytes into frames, without keeping bodies. */
export class FrameReader {
  readonly #events: FrameEvents
  #rest: Buffer | undefined
  #skip = 0

  constructor(events: FrameEvents) {
    this.#events = events
  }

  read(chunk: Buffer): void {
    let bytes = chunk
    if (this.#rest !== undefined) {
      bytes = Buffer.concat([this.#rest, chunk])
      this.#rest = undefined
    }
    let at = 0
    for (;;) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, bytes.length - at)
        this.#skip -= skipped
        at += skipped
      }
      if (bytes.length - at < 7) break
      const type = bytes[at]!
      const channel = bytes.readUInt16BE(at + 1)
      const size = bytes.readUInt32BE(at + 3)
      if (type === bodyFrame || type === heartbeatFrame) {
        this.#skip = size + 1
        at += 7
        if (type === bodyFrame) this.#events.onBody(channel, size)
        continue
      }
      if (bytes.length - at < size + overhead) break
      if (type === methodFrame) {
        this.#events.onMethod(channel, bytes.readUInt16BE(at + 7), bytes.readUInt16BE(at + 9), bytes, at + 11)
      } else {
        this.#events.onHeader(channel, bytes.readUInt32BE(at + 11) * 2 ** 32 + bytes.readUInt32BE(at + 15))
      }
      at += size + overhead
    }
    if (at < bytes.length) this.#rest = bytes.subarray(at)
  }
}
