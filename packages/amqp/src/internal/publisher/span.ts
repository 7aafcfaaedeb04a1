/**
 * The spans of publishes, which end with their outcome, and travel with their messages as a `traceparent` header.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import type { Headers, Message } from "../../AmqpMessage.ts"
import { PublishError } from "../../PublishError.ts"
import type { Session } from "../connection/session.ts"
import type { Templated } from "../wire/destination.ts"
import { keyTemplate, publishedTo } from "../wire/destination.ts"
import type { Encoded } from "../wire/encodeMessage.ts"

/** The spans of one publisher. */
export interface Spans {
  /** Begins the span of a message, as a child of the present one. */
  readonly begin: (message: Message) => Effect.Effect<Tracer.Span>
  /** Notes what became of the message when it was encoded. */
  readonly encoded: (span: Tracer.Span, encoded: Encoded | PublishError) => void
  /** Ends the span with the outcome of its message. */
  readonly end: (span: Tracer.Span, exit: Exit.Exit<void, PublishError>) => void
}

// A tracer that fails must not cost a message its outcome.
const harmless = (note: () => void): void => {
  try {
    note()
  } catch {}
}

/** Makes the spans of a publisher, which end by a clock and name the session that is there by then. */
export const make = (clock: Clock.Clock, session: () => Session | undefined): Spans => ({
  begin(message) {
    const exchange = typeof message.exchange === "string" ? message.exchange : message.exchange?.name ?? ""
    const destination = publishedTo(exchange, message.routingKey)
    const key = (message as Templated)[keyTemplate]
    const template = key === undefined ? undefined : publishedTo(exchange, key)
    return Effect.makeSpan(`publish ${template ?? destination}`, {
      kind: "producer",
      attributes: {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": destination,
        "messaging.rabbitmq.destination.routing_key": message.routingKey,
        ...(template === undefined ? {} : { "messaging.destination.template": template }),
        ...(message.messageId === undefined ? {} : { "messaging.message.id": message.messageId }),
        ...(message.correlationId === undefined ? {} : { "messaging.message.conversation_id": message.correlationId })
      }
    })
  },
  encoded(span, encoded) {
    if (encoded instanceof PublishError) return
    harmless(() => {
      if (encoded.properties.messageId !== undefined) {
        span.attribute("messaging.message.id", encoded.properties.messageId)
      }
      span.attribute("messaging.message.body.size", encoded.body.byteLength)
    })
  },
  end(span, exit) {
    harmless(() => {
      const present = session()
      if (present !== undefined) {
        span.attribute("messaging.client.id", present.connectionName)
        span.attribute("server.address", present.address.host)
        span.attribute("server.port", present.address.port)
      }
      if (Exit.isFailure(exit)) span.attribute("error.type", errorType(exit))
    })
    harmless(() => span.end(clock.currentTimeNanosUnsafe(), exit))
  }
})

const errorType = (exit: Exit.Failure<void, PublishError>): string => {
  const error = Exit.findErrorOption(exit)
  return error._tag === "Some" ? error.value.reason._tag : "_OTHER"
}

/**
 * The headers of a message with the span in them, unless they name a trace already, or are to be refused. Not a copy of
 * the message: it may be of a class, and what that computes would be missing.
 */
export const headers = ({ headers }: Message, span: Tracer.Span): Headers | undefined =>
  headers === undefined || (Predicate.isObject(headers) && headers["traceparent"] === undefined)
    ? { ...headers, traceparent: `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}` }
    : headers
