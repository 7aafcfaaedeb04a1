/**
 * Where a consumer of a stream begins: the argument `x-stream-offset`.
 *
 * @see https://www.rabbitmq.com/docs/streams#consuming
 */
import type { HeaderValue } from "effect-amqp/AmqpMessage"
import type { Dialect } from "./brokerVersion.ts"
import { internalError, preconditionFailed } from "./replyFault.ts"

export type StreamOffset =
  | { readonly _tag: "First" }
  | { readonly _tag: "Last" }
  | { readonly _tag: "Next" }
  | { readonly _tag: "Number"; readonly offset: number }
  /** The first message that came at this time or later, in milliseconds since 1970. */
  | { readonly _tag: "Since"; readonly time: number }

const unitSeconds: Readonly<Record<string, number>> = {
  Y: 365 * 24 * 3600,
  M: 30 * 24 * 3600,
  D: 24 * 3600,
  h: 3600,
  m: 60,
  s: 1
}

/** Reads an age such as `7D`, in milliseconds. */
export const readAge = (text: string): number | undefined => {
  const [, count, unit = ""] = /^(\d+)([YMDhms])$/.exec(text) ?? []
  const seconds = unitSeconds[unit]
  return count === undefined || seconds === undefined ? undefined : Number(count) * seconds * 1000
}

/** Reads the argument. `what` names the queue; the fault is what RabbitMQ of that version answers. */
export const readOffset = (
  value: HeaderValue | undefined,
  what: string,
  now: number,
  dialect: Dialect
): StreamOffset => {
  if (value === undefined || value === "next") return { _tag: "Next" }
  if (value === "first") return { _tag: "First" }
  if (value === "last") return { _tag: "Last" }
  if (typeof value === "number" && Number.isInteger(value)) return { _tag: "Number", offset: value }
  if (value instanceof Date) return { _tag: "Since", time: value.getTime() }
  if (typeof value !== "string") throw internalError
  const age = readAge(value)
  if (age !== undefined) return { _tag: "Since", time: now - age }
  if (!dialect.refusesOffsetOnChannel) throw internalError
  const printed = value === "" ? "<<>>" : `<<"${value}">>`
  throw preconditionFailed(
    `invalid arg 'x-stream-offset' for ${what}: {invalid_stream_offset_arg,{longstr,${printed}}}`
  )
}
