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
import type { Message } from "../AmqpMessage.ts"
import type { PublishError } from "../PublishError.ts"

/** Begin the span of a message, as a child of the present one. */
export const begin = (message: Message): Effect.Effect<Tracer.Span> => {
  const exchange = typeof message.exchange === "string" ? message.exchange : message.exchange?.name ?? ""
  return Effect.makeSpan(`publish ${exchange === "" ? "amq.default" : exchange}`, {
    kind: "producer",
    attributes: {
      "messaging.system": "rabbitmq",
      "messaging.operation.name": "publish",
      "messaging.operation.type": "send",
      "messaging.destination.name": exchange === "" ? "amq.default" : exchange,
      "messaging.rabbitmq.destination.routing_key": message.routingKey,
      ...(message.messageId === undefined ? {} : { "messaging.message.id": message.messageId }),
      ...(message.correlationId === undefined ? {} : { "messaging.message.conversation_id": message.correlationId })
    }
  })
}

/** The message with the span in its headers, unless it names a trace already, or is to be refused for them. */
export const inject = (message: Message, span: Tracer.Span): Message =>
  message.headers === undefined || (Predicate.isObject(message.headers) && message.headers["traceparent"] === undefined)
    ? {
      ...message,
      headers: {
        ...message.headers,
        traceparent: `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`
      }
    }
    : message

/** End the span with the outcome of its message. */
export const end = (span: Tracer.Span, clock: Clock.Clock, exit: Exit.Exit<void, PublishError>): void => {
  try {
    span.end(clock.currentTimeNanosUnsafe(), exit)
  } catch {
    // A tracer that fails must not cost a message its outcome.
  }
}
