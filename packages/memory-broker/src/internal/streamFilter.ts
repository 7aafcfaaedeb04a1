/**
 * What a reader of a stream gets: its arguments `x-stream-filter` and `x-stream-match-unfiltered`, and the header
 * `x-stream-filter-value` of a message.
 *
 * A node keeps the values of a chunk together, and sends the chunk if one of them may be wanted. Here each message is a
 * chunk of its own.
 *
 * @see https://www.rabbitmq.com/docs/streams#filtering
 */
import type { Headers } from "effect-amqp/AmqpMessage"
import type { Message } from "./message.ts"
import { internalError } from "./replyFault.ts"

/** Tells if a reader wants a message. */
export type StreamFilter = (message: Message) => boolean

const everything: StreamFilter = () => true

/** Reads the value of a message, which is the empty text if it has none. Throws the fault of one that is no text. */
export const readFilterValue = ({ properties }: Message): string => {
  const value = properties.headers?.["x-stream-filter-value"] ?? ""
  if (properties.headers?.["x-stream-filter-value"] === null || typeof value !== "string") throw internalError
  return value
}

/** Reads the arguments of a reader. Throws the fault of a list that is empty, or has something else than texts. */
export const readFilter = (args: Headers): StreamFilter => {
  const filter = args["x-stream-filter"]
  const values: ReadonlyArray<unknown> | undefined = typeof filter === "string"
    ? [filter]
    : Array.isArray(filter)
    ? filter
    : undefined
  if (values === undefined) return everything
  if (values.length === 0 || values.some((value) => typeof value !== "string")) throw internalError
  const wanted = new Set(values)
  const unfiltered = wanted.has("") || args["x-stream-match-unfiltered"] === true
  return (message) => {
    const value = readFilterValue(message)
    return value === "" ? unfiltered : wanted.has(value)
  }
}
