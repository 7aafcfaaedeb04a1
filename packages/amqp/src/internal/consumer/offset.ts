/**
 * Checks where a consumer begins to read a stream, and what it filters: RabbitMQ closes the connection at some of what it
 * does not understand, and with that takes every other consumer's channel.
 *
 * @see https://www.rabbitmq.com/docs/streams#consuming
 * @see https://www.rabbitmq.com/docs/streams#filtering
 */
import * as Effect from "effect/Effect"
import type { Arguments } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"
import { TypedNumber } from "../typedNumber.ts"

const isOffset = (value: unknown): boolean => {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0
  if (typeof value === "bigint") return value >= 0n
  if (value instanceof Date) return !Number.isNaN(value.getTime())
  if (value instanceof TypedNumber) return isOffset(value.value)
  return typeof value === "string" && /^(first|last|next|[1-9]\d*[YMDhms])$/.test(value)
}

const isFilter = (value: unknown): boolean =>
  typeof value === "string" ||
  (Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string"))

/** Refuses an `x-stream-offset` or an `x-stream-filter` that no stream understands, by the name of the queue. */
export const checkReading = (queue: string, given: Arguments): Effect.Effect<void, AmqpError> => {
  const filter: unknown = given["x-stream-filter"]
  if (filter !== undefined && !isFilter(filter)) {
    return Effect.fail(
      invalid(
        "arguments",
        `x-stream-filter of the consumer of "${queue}" must be a text, or a list of texts that is not empty`
      )
    )
  }
  const offset: unknown = given["x-stream-offset"]
  return offset === undefined || isOffset(offset) ? Effect.void : Effect.fail(
    invalid(
      "arguments",
      `x-stream-offset of the consumer of "${queue}" is ${
        typeof offset === "string" ? `"${offset}"` : String(offset)
      }; it must be "first", "last", "next", ` +
        `an offset from 0, a Date, or a time span such as "1h"`
    )
  )
}
