/**
 * What differs by the broker's version, which it tells in the handshake.
 */
import type { DriverConnection } from "../../AmqpDriver.ts"

/**
 * True if the broker is RabbitMQ of this version or a later one. False where it tells no version, and for other brokers,
 * whose versions say nothing of RabbitMQ's.
 */
export const isRabbitMqSince = (
  { serverProperties }: Pick<DriverConnection, "serverProperties">,
  major: number,
  minor: number
): boolean => {
  const { product, version } = serverProperties
  const parsed = product === "RabbitMQ" && typeof version === "string" ? /^(\d+)\.(\d+)/.exec(version) : null
  if (parsed === null) return false
  const actual = Number(parsed[1])
  return actual > major || (actual === major && Number(parsed[2]) >= minor)
}
