/**
 * The driver for amqplib 2.3: the default, and the only one that opens sockets.
 *
 * Applications need it only to wrap it, for example to count connects, and provide the result as `CurrentDriver`.
 */
import type { AmqpDriver } from "./AmqpDriver.ts"
import { connect } from "./internal/amqplib/dial.ts"

/**
 * Reaches RabbitMQ by amqplib, over TCP or TLS.
 *
 * @category drivers
 * @since 0.1.0
 */
export const driver: AmqpDriver = { name: "amqplib", connect }
