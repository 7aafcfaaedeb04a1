/**
 * The W3C trace context of a message, as publishers of any language put it into the headers.
 *
 * @see https://www.w3.org/TR/trace-context/#traceparent-header
 */
import * as Tracer from "effect/Tracer"
import type { Headers } from "../../AmqpMessage.ts"

const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/
const noTrace = /^0+$/

/** The span that published a message, if its headers name one. */
export const read = (headers: Headers): Tracer.ExternalSpan | undefined => {
  const value = headers["traceparent"]
  const match = typeof value === "string" ? traceparent.exec(value) : null
  if (match === null || value === undefined || noTrace.test(match[1]!) || noTrace.test(match[2]!)) return undefined
  return Tracer.externalSpan({
    traceId: match[1]!,
    spanId: match[2]!,
    sampled: (Number.parseInt(match[3]!, 16) & 1) === 1
  })
}
