/**
 * Header fields and frames as other clients write them, which amqplib would not: py-amqp, Java and their like.
 */
import * as ScriptedBroker from "./ScriptedBroker.ts"

/** A field of eight bytes: a timestamp, an integer of 64 bits. */
export const long = (tag: string, value: bigint): Buffer => {
  const bytes = Buffer.alloc(9)
  bytes.write(tag)
  bytes.writeBigInt64BE(value, 1)
  return bytes
}

/** A field with its length: a text, a table, a list. */
export const sized = (tag: string, value: Buffer): Buffer => {
  const size = Buffer.alloc(5)
  size.write(tag)
  size.writeUInt32BE(value.length, 1)
  return Buffer.concat([size, value])
}

/** An entry of a table. */
export const entry = (key: string, value: Buffer): Buffer =>
  Buffer.concat([Buffer.from([key.length]), Buffer.from(key), value])

/** Tables in tables. */
export const nested = (levels: number): Buffer => {
  let value: Buffer = sized("F", entry("n", Buffer.from("t\u0001")))
  for (let level = 1; level < levels; level++) value = sized("F", entry("n", value))
  return value
}

/** A header frame with these entries as headers, and a type if there is one. */
export const headerFrame = (channel: number, entries: Buffer, bodySize: number, type?: string): Buffer => {
  const payload = Buffer.alloc(14 + 4)
  payload.writeUInt16BE(60, 0)
  payload.writeUInt32BE(bodySize, 8)
  payload.writeUInt16BE(type === undefined ? 0x2000 : 0x2020, 12)
  payload.writeUInt32BE(entries.length, 14)
  const typed = type === undefined ? [] : [Buffer.from([type.length]), Buffer.from(type)]
  return ScriptedBroker.frame(2, channel, Buffer.concat([payload, entries, ...typed]))
}

/** A body frame. */
export const bodyFrame = (channel: number, body: string): Buffer => ScriptedBroker.frame(3, channel, Buffer.from(body))
