/**
 * The offset of a message, which the broker adds to its headers.
 */
import type { WireProperties } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"
import { readableHeaders } from "../wire/properties.ts"

const header = "x-stream-offset"

/** Its entry in a table: its name, and the type of a whole number of 64 bits. */
const entry = Buffer.from(`${String.fromCharCode(header.length)}${header}l`, "latin1")

/** Reads the offset of a message; `undefined` if the message came from a queue that is no stream. */
export const offsetOf = (properties: WireProperties): number | undefined => {
  const offset = readableHeaders(properties)?.[header]
  if (typeof offset === "number") return offset
  if (typeof offset === "bigint") return Number(offset)
  // Behind a header that cannot be read, the broker's own is there all the same.
  const raw = properties.rawHeaders
  if (raw === undefined) return undefined
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength)
  const at = bytes.lastIndexOf(entry)
  return at === -1 || at + entry.length + 8 > bytes.length ? undefined : Number(bytes.readBigInt64BE(at + entry.length))
}

/** The error of a queue that is no stream. */
export const notAStream = (queue: string): AmqpError =>
  invalid("stream", `"${queue}" is not a stream, whose messages have offsets; use AmqpConsumer for other queues`)
