/**
 * The span of one publish, which ends with its outcome, and which travels with the message as a `traceparent` header.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import type { Headers, Message } from "../../AmqpMessage.ts"
import type { PublishError } from "../../PublishError.ts"
import { exchangeLabel } from "../wire/exchangeLabel.ts"

/** Begin the span of a message, as a child of the present one. */
export const begin = (message: Message): Effect.Effect<Tracer.Span> => {
  const exchange = typeof message.exchange === "string" ? message.exchange : message.exchange?.name ?? ""
  return Effect.makeSpan(`publish ${exchangeLabel(exchange)}`, {
    kind: "producer",
    attributes: {
      "messaging.system": "rabbitmq",
      "messaging.operation.name": "publish",
      "messaging.operation.type": "send",
      "messaging.destination.name": exchangeLabel(exchange),
      "messaging.rabbitmq.destination.routing_key": message.routingKey,
      ...(message.messageId === undefined ? {} : { "messaging.message.id": message.messageId }),
      ...(message.correlationId === undefined ? {} : { "messaging.message.conversation_id": message.correlationId })
    }
  })
}

/**
 * The headers of a message with the span in them, unless they name a trace already, or are to be refused. Not a copy of
 * the message: it may be of a class, and what that computes would be missing.
 */
export const headers = ({ headers }: Message, span: Tracer.Span): Headers | undefined =>
  headers === undefined || (Predicate.isObject(headers) && headers["traceparent"] === undefined)
    ? { ...headers, traceparent: `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}` }
    : headers

/** End the span with the outcome of its message. */
export const end = (span: Tracer.Span, clock: Clock.Clock, exit: Exit.Exit<void, PublishError>): void => {
  try {
    span.end(clock.currentTimeNanosUnsafe(), exit)
  } catch {
    // A tracer that fails must not cost a message its outcome.
  }
}
