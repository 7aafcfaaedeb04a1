/**
 * Names of destinations by OpenTelemetry's messaging conventions.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
 */
import { exchangeLabel } from "./exchangeLabel.ts"

const join = (...parts: ReadonlyArray<string>): string => {
  const named = parts.filter((part, index) => part !== "" && parts.indexOf(part) === index)
  return named.length === 0 ? exchangeLabel("") : named.join(":")
}

/** Names where a message is published to: `{exchange}:{routing key}`, one alone where the other is empty. */
export const publishedTo = (exchange: string, routingKey: string): string => join(exchange, routingKey)

/** Names where a message is consumed from: `{exchange}:{routing key}:{queue}`, equal parts once. */
export const consumedFrom = (exchange: string, routingKey: string, queue: string): string =>
  join(exchange, routingKey, queue)

/**
 * The key under which a message, or the options of a consumer, carry the template of a routing key. Templates are of
 * few values where keys are of many, so they name spans.
 */
export const keyTemplate: unique symbol = Symbol.for("effect-amqp/keyTemplate")

/** A message whose routing key was made of a template. */
export interface Templated {
  readonly [keyTemplate]?: string
}
