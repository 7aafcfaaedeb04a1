/**
 * A message inside the broker. It is immutable: queues hold entries that point at it, and dead-lettering makes another.
 */
import type { WireProperties } from "effect-amqp/AmqpDriver"
import type { HeaderValue } from "effect-amqp/AmqpMessage"

export interface Message {
  readonly exchange: string
  /** The routing key of the publish, then the `CC` and `BCC` keys. */
  readonly routingKeys: readonly [string, ...Array<string>]
  readonly properties: WireProperties
  readonly body: Uint8Array
}

/** Tells if a durable queue keeps the message when the broker restarts. */
export const isPersistent = (message: Message): boolean => message.properties.deliveryMode === 2

const extraKeys = (value: HeaderValue | undefined): ReadonlyArray<string> =>
  Array.isArray(value) ? value.filter((key) => typeof key === "string") : []

/**
 * Makes the message that a publish puts into the broker. It has the sender-selected keys of the headers `CC` and `BCC`,
 * and no header `BCC`, which receivers must not see.
 *
 * @see https://www.rabbitmq.com/docs/sender-selected
 */
export const fromPublish = (
  published: {
    readonly exchange: string
    readonly routingKey: string
    readonly properties: WireProperties
    readonly body: Uint8Array
  }
): Message => {
  const headers = published.properties.headers
  const { exchange, routingKey, properties, body } = published
  if (headers === undefined || (headers["CC"] === undefined && headers["BCC"] === undefined)) {
    return { exchange, routingKeys: [routingKey], properties, body }
  }
  const { BCC, ...visible } = headers
  return {
    exchange,
    routingKeys: [routingKey, ...extraKeys(headers["CC"]), ...extraKeys(BCC)],
    properties: { ...properties, headers: visible },
    body
  }
}
