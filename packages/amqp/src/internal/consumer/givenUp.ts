/**
 * The end of a handler that was tried again in place.
 */
import * as Data from "effect/Data"

/** A handler failed as often as its schedule allows, or with what is not tried again. */
export class GivenUp extends Data.TaggedError("GivenUp")<{
  /** What the last attempt failed with. */
  readonly error: unknown
  /** The attempts since the message was delivered. */
  readonly attempts: number
}> {}
