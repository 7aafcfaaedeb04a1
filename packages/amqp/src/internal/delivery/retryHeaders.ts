/**
 * How often a message was tried, and where it came from before it was delayed: headers of ours, and of RabbitMQ.
 */
import type { Headers, HeaderValue } from "../../AmqpMessage.ts"

/** The attempt of a delayed message, written by the client that delays it. */
export const attemptHeader = "x-retry-attempt"
/** The queue whose attempts those are. */
export const queueHeader = "x-retry-queue"
/** The exchange, routing key and user id that a delayed message was first published with. */
export const exchangeHeader = "x-retry-exchange"
export const routingKeyHeader = "x-retry-routing-key"
export const userIdHeader = "x-retry-user-id"

const countOf = (value: HeaderValue | undefined): number | undefined =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : undefined

const isTable = (value: HeaderValue): value is { readonly [key: string]: HeaderValue | undefined } =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date) &&
  !(value instanceof Uint8Array)

/** How often `x-death` says that a queue refused the message, rather than that its time there was over. */
const rejections = (deaths: HeaderValue | undefined, queue: string): number => {
  if (!Array.isArray(deaths)) return 0
  let sum = 0
  for (const death of deaths as ReadonlyArray<HeaderValue>) {
    if (!isTable(death) || death["queue"] !== queue) continue
    if (death["reason"] === "rejected" || death["reason"] === "delivery_limit") sum += countOf(death["count"]) ?? 0
  }
  return sum
}

/** What {@link attemptHeader} says, if it is about this queue: a message may go on to another one. */
const delayedAttempt = (headers: Headers | undefined, queue: string): number | undefined =>
  headers?.[queueHeader] === queue ? countOf(headers[attemptHeader]) : undefined

/** How often the message was delayed for this queue. */
export const delays = (headers: Headers | undefined, queue: string): number =>
  Math.max(0, (delayedAttempt(headers, queue) ?? 1) - 1)

/** Which attempt a delivery is, see `Delivery.attempts`. */
export const attempts = (headers: Headers | undefined, queue: string, redelivered: boolean): number => {
  if (headers === undefined) return redelivered ? 2 : 1
  const own = delayedAttempt(headers, queue)
  const tried = own ?? 1 + rejections(headers["x-death"], queue)
  return Math.max(tried + (countOf(headers["x-delivery-count"]) ?? 0), redelivered ? 2 : 1)
}
