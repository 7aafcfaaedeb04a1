/**
 * The errors of finding, starting and steering a broker.
 */
import * as Data from "effect/Data"

/**
 * This machine has no broker of the wanted kind. The message says what was tried and why each try failed.
 */
export class RabbitMqUnavailable extends Data.TaggedError("RabbitMqUnavailable")<{
  readonly message: string
}> {}

/**
 * A broker did not boot, did not answer, or refused a command.
 */
export class RabbitMqError extends Data.TaggedError("RabbitMqError")<{
  readonly message: string
  readonly cause?: unknown
}> {}
