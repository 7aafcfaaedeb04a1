/**
 * What a handler decides on its message by itself, without having failed.
 */
import * as Data from "effect/Data"

/**
 * The decision of a handler on its message, which the failure policy is not asked about. Fail with
 * `AmqpConsumer.giveBack`, `AmqpConsumer.deadLetter` or `AmqpConsumer.drop`.
 *
 * @category errors
 * @since 0.2.0
 */
export class HandlerDecision extends Data.TaggedError("HandlerDecision")<{
  readonly fate: "giveBack" | "deadLetter" | "drop"
}> {
  override get message(): string {
    return `the handler decided on its message: ${this.fate}`
  }
}
