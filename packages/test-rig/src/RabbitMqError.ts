/**
 * What can go wrong while a broker is found, started or pulled about.
 */
import * as Data from "effect/Data"

/**
 * No broker of the wanted kind can be had on this machine. The message says what was tried and why each failed.
 */
export class RabbitMqUnavailable extends Data.TaggedError("RabbitMqUnavailable")<{
  readonly message: string
}> {}

/**
 * A broker that was found would not do what was asked of it: it did not boot, did not answer, or refused a command.
 */
export class RabbitMqError extends Data.TaggedError("RabbitMqError")<{
  readonly message: string
  readonly cause?: unknown
}> {}
