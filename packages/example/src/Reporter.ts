/**
 * The events of a run and the service that hears them. The programs do no input or output of their own, so that the
 * same program runs on a terminal, in a pipe and in a test.
 */
import { Context } from "effect"
import type { Effect } from "effect"
import type { AmqpConnection, AmqpError, AmqpMessage, PublishError } from "effect-amqp"

/** A message of the programs. Its text is its body. */
export interface HelloMessage extends AmqpMessage.Message {
  readonly messageId: string
  readonly body: string
}

/** A delivery of such a message. */
export interface Received {
  readonly messageId: string
  readonly body: string
}

/** One event of a run. */
export type Event =
  | { readonly _tag: "ConnectFailed"; readonly error: AmqpError.AmqpError }
  | { readonly _tag: "ConnectionChanged"; readonly state: AmqpConnection.State }
  | { readonly _tag: "Confirmed"; readonly message: HelloMessage }
  | { readonly _tag: "PublishingAgain"; readonly message: HelloMessage; readonly error: PublishError.PublishError }
  | { readonly _tag: "NotConfirmed"; readonly message: HelloMessage; readonly error: PublishError.PublishError }
  | { readonly _tag: "Handled"; readonly message: Received; readonly times: number }
  | { readonly _tag: "HandlerFailed"; readonly message: Received; readonly reason: string; readonly willRetry: boolean }
  | { readonly _tag: "DeadLettered"; readonly message: Received }

/** The service that hears the events of a run. */
export class Reporter extends Context.Service<Reporter, {
  readonly report: (event: Event) => Effect.Effect<void>
}>()("effect-amqp-example/Reporter") {}
