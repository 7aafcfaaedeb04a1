/**
 * The span of a handler, linked to the span that published its message.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
 */
import * as Effect from "effect/Effect"
import type { Delivery } from "../../AmqpDelivery.ts"
import { exchangeLabel } from "../wire/exchangeLabel.ts"
import * as Traceparent from "../wire/traceparent.ts"

/** Runs the handler of some deliveries in a span of its own, which is named after the first of them. */
export const withConsumerSpan = <A, E, R>(
  handler: Effect.Effect<A, E, R>,
  deliveries: ReadonlyArray<Delivery>
): Effect.Effect<A, E, R> => {
  const first = deliveries[0]!
  return Effect.withSpan(handler, `process ${first.queue}`, {
    kind: "consumer",
    // Not a child of the publisher's span, which ended long ago, nor of whatever made the consumer.
    root: true,
    links: deliveries.flatMap((delivery) => {
      const span = Traceparent.read(delivery.headers)
      return span === undefined ? [] : [{ span, attributes: {} }]
    }),
    attributes: {
      "messaging.system": "rabbitmq",
      "messaging.operation.name": "process",
      "messaging.operation.type": "process",
      "messaging.destination.name": exchangeLabel(first.exchange),
      "messaging.destination.subscription.name": first.queue,
      ...(deliveries.length === 1 ? ofMessage(first) : { "messaging.batch.message_count": deliveries.length })
    },
    captureStackTrace: false
  })
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
