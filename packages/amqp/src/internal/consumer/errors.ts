/**
 * What a handler fails with without its own doing.
 */
import * as Data from "effect/Data"

/**
 * A handler ran longer than `handlerTimeout` and was interrupted; its failure policy decides on the message.
 *
 * @category errors
 * @since 0.1.0
 */
export class HandlerTimeout extends Data.TaggedError("HandlerTimeout")<{
  readonly queue: string
  readonly millis: number
}> {
  override get message(): string {
    return `the handler of a message of "${this.queue}" was not done after ${this.millis} ms`
  }
}
