/**
 * Lists the ways in which a call can fail on its way, beside the errors that its Rpc declares.
 *
 * effect/rpc has one error for all transports, `RpcClientError`, which holds the failure of this one as a cause: read it
 * with {@link failureOf}, or ask {@link isNoServer} and {@link isOutcomeUnknown}.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import { RpcClientDefect, RpcClientError } from "effect/rpc/RpcClientError"

/**
 * No server was there to take the call: nothing has happened, and the call can be made again.
 *
 * @category failures
 * @since 0.1.0
 */
export class NoServer extends Data.TaggedError("NoServer")<{
  readonly service: string
}> {
  override get message(): string {
    return `no server of "${this.service}" is there: its queue does not exist, so nobody has the call`
  }
}

/**
 * A server may have taken the call, and its answer will not come. Make the call again only if it may be repeated.
 *
 * @category failures
 * @since 0.1.0
 */
export class OutcomeUnknown extends Data.TaggedError("OutcomeUnknown")<{
  readonly service: string
  /** Says what took the answer away. */
  readonly detail: string
}> {
  override get message(): string {
    return `the outcome of the call to "${this.service}" is unknown: ${this.detail}`
  }
}

/**
 * As many servers as may have taken the call, and each died or lost its connection before it answered: the call may be what
 * kills them, and goes to no other one. Do not make it again before somebody has looked at it.
 *
 * @category failures
 * @since 0.1.0
 */
export class Poison extends Data.TaggedError("Poison")<{
  readonly service: string
  /** How many times a server took it. */
  readonly attempts: number
}> {
  override get message(): string {
    return `the call to "${this.service}" was taken ${this.attempts} times, and no server answered it: it goes to no other one`
  }
}

/**
 * The deadline came before the answer, or before the first part of a stream.
 *
 * @category failures
 * @since 0.1.0
 */
export class DeadlineExceeded extends Data.TaggedError("DeadlineExceeded")<{
  readonly service: string
  readonly millis: number
  /** Says that the call was sent, so that a server may have taken it. */
  readonly wasSent: boolean
}> {
  override get message(): string {
    return `"${this.service}" gave no answer within ${this.millis} ms` +
      (this.wasSent ? "" : ": the call was not sent, because there was no connection")
  }
}

/**
 * The request or the answer has more bytes than a message may have. An answer that is too large was computed all the same.
 *
 * @category failures
 * @since 0.1.0
 */
export class TooLarge extends Data.TaggedError("TooLarge")<{
  readonly service: string
  readonly part: "request" | "answer"
  readonly detail: string
}> {
  override get message(): string {
    return `the ${this.part} of a call to "${this.service}" is too large for a message: ${this.detail}`
  }
}

/**
 * The server cannot read what the client sends: the two do not use the same `RpcSerialization`.
 *
 * @category failures
 * @since 0.1.0
 */
export class Unreadable extends Data.TaggedError("Unreadable")<{
  readonly service: string
  readonly detail: string
}> {
  override get message(): string {
    return `a server of "${this.service}" cannot read the call: ${this.detail}`
  }
}

/**
 * The call could not be sent: nothing has happened. The cause is the `PublishError`, which says why.
 *
 * @category failures
 * @since 0.1.0
 */
export class NotSent extends Data.TaggedError("NotSent")<{
  readonly service: string
  readonly cause: Error
}> {
  override get message(): string {
    return `the call to "${this.service}" was not sent: ${this.cause.message}`
  }
}

/**
 * Lists the failures of a call on its way; the set is closed.
 *
 * @category failures
 * @since 0.1.0
 */
export type CallFailure = NoServer | OutcomeUnknown | Poison | DeadlineExceeded | TooLarge | Unreadable | NotSent

const tags = new Set(["NoServer", "OutcomeUnknown", "Poison", "DeadlineExceeded", "TooLarge", "Unreadable", "NotSent"])

/**
 * Wraps a failure into the error of effect/rpc.
 *
 * @internal
 */
export const wrap = (failure: CallFailure): RpcClientError =>
  new RpcClientError({ reason: new RpcClientDefect({ message: failure.message, cause: failure }) })

/**
 * Reads the failure that an `RpcClientError` of this transport holds; `undefined` for anything else.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { CallError } from "effect-amqp-rpc"
 *
 * const explain = (error: unknown) => {
 *   const failure = CallError.failureOf(error)
 *   return failure?._tag === "TooLarge" ? Effect.logWarning(failure.detail) : Effect.void
 * }
 * ```
 *
 * @category readers
 * @since 0.1.0
 */
export const failureOf = (error: unknown): CallFailure | undefined => {
  if (!Predicate.isTagged(error, "RpcClientError")) return undefined
  const { reason } = error as RpcClientError
  const cause = reason._tag === "RpcClientDefect" ? reason.cause : undefined
  return Predicate.hasProperty(cause, "_tag") && tags.has(String(cause._tag)) ? cause as CallFailure : undefined
}

/**
 * Tells that no server was there, so that nobody has the call: it can be made again.
 *
 * @category guards
 * @since 0.1.0
 */
export const isNoServer = (error: unknown): error is RpcClientError => failureOf(error)?._tag === "NoServer"

/**
 * Tells that servers took the call again and again, and none answered it: each died, or lost its connection. It is not to
 * be made again before somebody has looked at it.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPoison = (error: unknown): error is RpcClientError => failureOf(error)?._tag === "Poison"

/**
 * Tells that a server may have handled the call, or may still: its answer was lost, did not come by the deadline, or is
 * not coming because the call {@link isPoison}. Make such a call again only if it may be repeated.
 *
 * @category guards
 * @since 0.1.0
 */
export const isOutcomeUnknown = (error: unknown): error is RpcClientError => {
  const failure = failureOf(error)
  return failure?._tag === "OutcomeUnknown" || failure?._tag === "Poison" ||
    (failure?._tag === "DeadlineExceeded" && failure.wasSent)
}
