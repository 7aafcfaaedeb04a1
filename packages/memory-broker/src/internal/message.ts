/**
 * A message inside the broker. It is immutable: queues hold entries that point at it, and dead-lettering makes another.
 */
import type { WireProperties } from "effect-amqp/AmqpDriver"
import type { HeaderValue } from "effect-amqp/AmqpMessage"

export interface Message {
  readonly exchange: string
  /** The key it was published with, then the `CC` and `BCC` keys. */
  readonly routingKeys: readonly [string, ...Array<string>]
  readonly properties: WireProperties
  readonly body: Uint8Array
}

/** Whether a durable queue still has it after the broker was restarted. */
export const isPersistent = (message: Message): boolean => message.properties.deliveryMode === 2

const extraKeys = (value: HeaderValue | undefined): ReadonlyArray<string> =>
  Array.isArray(value) ? value.filter((key) => typeof key === "string") : []

/**
 * The message that a publish puts into the broker: sender-selected keys of the `CC` and `BCC` headers are added, and
 * `BCC` is removed, so that receivers do not see it.
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
