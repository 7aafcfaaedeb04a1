/**
 * The checks that RabbitMQ makes before it routes a message. A message that fails one closes the channel.
 */
import type { WireProperties } from "effect-amqp/AmqpDriver"
import { longestExpiry, wireType } from "./queueSettings.ts"
import { preconditionFailed } from "./replyFault.ts"

const expirationProblem = (expiration: string): string | undefined => {
  const [, digits, leftover] = /^([+-]?\d+)(.*)$/s.exec(expiration) ?? []
  if (digits === undefined) return "no_integer"
  if (leftover !== "") return `{leftover_string,"${leftover}"}`
  if (Number(digits) < 0) return `{value_negative,${digits}}`
  return Number(digits) > longestExpiry ? `{value_too_large,${digits}}` : undefined
}

/** Fails if a message is larger than the broker takes. */
export const checkSize = (body: Uint8Array, maxMessageSize: number): void => {
  if (body.length <= maxMessageSize) return
  throw preconditionFailed(`message size ${body.length} is larger than configured max size ${maxMessageSize}`)
}

/** Fails as RabbitMQ does if it refuses a message with these properties. */
export const checkProperties = (properties: WireProperties, user: string): void => {
  const { deliveryMode, expiration, headers, userId } = properties
  if (userId !== undefined && userId !== user) {
    throw preconditionFailed(`user_id property set to '${userId}' but authenticated user was '${user}'`)
  }
  if (expiration !== undefined) {
    const problem = expirationProblem(expiration)
    if (problem !== undefined) throw preconditionFailed(`invalid expiration '${expiration}': ${problem}`)
  }
  if (deliveryMode !== undefined && deliveryMode !== 1 && deliveryMode !== 2) {
    throw preconditionFailed(`invalid message: {delivery_mode_unknown,${deliveryMode}}`)
  }
  if (headers === undefined) return
  for (const name of ["CC", "BCC"]) {
    const value = headers[name]
    if (value !== undefined && !Array.isArray(value)) {
      throw preconditionFailed(`invalid message: {unacceptable_type_in_header,"${name}",${wireType(value)}}`)
    }
  }
}
