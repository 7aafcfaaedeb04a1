/** amqplib's codec, which it does not export: the oracle for ours. */
import { createRequire } from "node:module"
import { dirname, join } from "node:path"

type Fields = Record<string, unknown>

/** A frame as amqplib decodes it: of a method, of a header, or of a body. */
export interface DecodedFrame {
  readonly id?: number
  readonly channel: number
  readonly fields?: Fields
  readonly size?: number
  readonly content?: Buffer
}

interface Definitions {
  readonly BasicPublish: number
  readonly BasicDeliver: number
  readonly BasicReturn: number
  readonly BasicGetOk: number
  readonly BasicAck: number
  readonly BasicNack: number
  readonly BasicReject: number
  readonly BasicCancel: number
  readonly BasicProperties: number
  readonly QueueDeclareOk: number
  readonly encodeMethod: (id: number, channel: number, fields: Fields) => Buffer
  readonly encodeProperties: (id: number, channel: number, size: number, fields: Fields) => Buffer
}

interface Frames {
  readonly makeBodyFrame: (channel: number, payload: Buffer) => Buffer
  readonly parseFrame: (bytes: Buffer, max: number) => { readonly rest: Buffer } | false
  readonly decodeFrame: (frame: unknown) => DecodedFrame
}

interface Tables {
  readonly encodeTable: (buffer: Buffer, table: Fields, offset: number) => number
  readonly decodeFields: (bytes: Buffer) => Fields
}

const require = createRequire(import.meta.url)
const library = join(dirname(require.resolve("amqplib")), "lib")

export const definitions = require(join(library, "defs.js")) as Definitions
export const frames = require(join(library, "frame.js")) as Frames
export const tables = require(join(library, "codec.js")) as Tables

/** The frames of a message as amqplib writes them, behind a method of it. */
export const message = (
  channel: number,
  method: number,
  fields: Fields,
  properties: Fields,
  body: Buffer,
  frameMax: number
): Buffer => {
  const parts = [
    definitions.encodeMethod(method, channel, fields),
    definitions.encodeProperties(definitions.BasicProperties, channel, body.length, properties)
  ]
  for (let offset = 0; offset < body.length; offset += frameMax - 8) {
    parts.push(frames.makeBodyFrame(channel, body.subarray(offset, offset + frameMax - 8)))
  }
  return Buffer.concat(parts)
}

/** All frames of some bytes as amqplib decodes them. */
export const decodeFrames = (bytes: Buffer): Array<DecodedFrame> => {
  const decoded: Array<DecodedFrame> = []
  for (let rest = bytes; rest.length > 0;) {
    const frame = frames.parseFrame(rest, 0)
    if (frame === false) throw new Error(`${rest.length} bytes are no whole frame`)
    decoded.push(frames.decodeFrame(frame))
    rest = frame.rest
  }
  return decoded
}
