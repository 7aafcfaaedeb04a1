/**
 * The span of a handler, which leads to the span that published its message.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { keyTemplate as templateKey } from "../wire/destination.ts"
import { consumedFrom } from "../wire/destination.ts"
import { readableHeaders } from "../wire/properties.ts"
import * as Traceparent from "../wire/traceparent.ts"

/** How the span of a handler leads to the publisher's. */
export type Tracing = "link" | "parent"

/** What is the same for all spans of a consumer. */
export interface SpanOptions {
  readonly tracing: Tracing
  /** The template of the routing key of a message, if its contract has one. */
  readonly keyTemplate: ((delivery: Delivery) => string | undefined) | undefined
  /** The queue has a name that the broker chose. */
  readonly isServerNamed: boolean
}

/** Options of a consumer whose messages have templates of their routing keys, as those of contracts. */
export interface TemplatedOptions {
  readonly [templateKey]?: (delivery: Delivery) => string | undefined
}

/** Runs the handler of some deliveries, the first of which names them, in a span of its own. */
export const withConsumerSpan = <A, E, R>(
  handler: Effect.Effect<A, E, R>,
  deliveries: ReadonlyArray<Delivery>,
  { isServerNamed, keyTemplate, tracing }: SpanOptions
): Effect.Effect<A, E, R> => {
  const first = deliveries[0]!
  const { exchange, origin, queue, routingKey } = first
  const key = keyTemplate?.(first)
  const destination = consumedFrom(exchange, routingKey, queue)
  const template = key === undefined ? undefined : consumedFrom(exchange, key, queue)
  const contexts = deliveries.flatMap((delivery) => Traceparent.read(readableHeaders(delivery.properties) ?? {}) ?? [])
  // A batch has many publishers, and a span one parent.
  const parent = tracing === "parent" && deliveries.length === 1 ? contexts[0] : undefined
  return Effect.withSpan(
    Effect.onExit(handler, (exit) => {
      const type = errorType(exit)
      return type === undefined ? Effect.void : Effect.annotateCurrentSpan("error.type", type)
    }),
    `process ${template ?? destination}`,
    {
      kind: "consumer",
      // A link where the publisher's span ended long ago, and never a child of whatever made the consumer.
      ...(parent === undefined
        ? { root: true, links: contexts.map((span) => ({ span, attributes: {} })) }
        : { parent }),
      attributes: {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": destination,
        "messaging.destination.subscription.name": queue,
        ...(template === undefined ? {} : { "messaging.destination.template": template }),
        ...(isServerNamed ? { "messaging.destination.anonymous": true, "messaging.destination.temporary": true } : {}),
        ...(origin === undefined ? {} : {
          "messaging.client.id": origin.connectionName,
          "server.address": origin.address.host,
          "server.port": origin.address.port
        }),
        ...(deliveries.length === 1 ? ofMessage(first) : { "messaging.batch.message_count": deliveries.length })
      },
      captureStackTrace: false
    }
  )
}

/** The tag of what a handler failed with; `_OTHER` for a failure without one, a defect or an interruption. */
const errorType = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  if (exit._tag === "Success") return undefined
  const error = Cause.findErrorOption(exit.cause)
  return error._tag === "Some" && Predicate.hasProperty(error.value, "_tag") && typeof error.value._tag === "string"
    ? error.value._tag
    : "_OTHER"
}

const ofMessage = ({ body, deliveryTag, messageId, properties, routingKey }: Delivery) => ({
  "messaging.message.body.size": body.byteLength,
  "messaging.rabbitmq.destination.routing_key": routingKey,
  "messaging.rabbitmq.message.delivery_tag": deliveryTag,
  ...(messageId === undefined ? {} : { "messaging.message.id": messageId }),
  ...(properties.correlationId === undefined
    ? {}
    : { "messaging.message.conversation_id": properties.correlationId })
})
