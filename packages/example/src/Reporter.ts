/**
 * What happens in a run, and where it is told: the programs do no input or output of their own, so that the same
 * program runs on a terminal, in a pipe and in a test.
 */
import { Context } from "effect"
import type { Effect } from "effect"
import type { AmqpConnection, AmqpError, AmqpMessage, PublishError } from "effect-amqp"

/** A message of these programs: its text is its body. */
export interface HelloMessage extends AmqpMessage.Message {
  readonly messageId: string
  readonly body: string
}

/** What a consumer knows of such a message. */
export interface Received {
  readonly messageId: string
  readonly body: string
}

/** What happens in a run. */
export type Event =
  | { readonly _tag: "ConnectFailed"; readonly error: AmqpError.AmqpError }
  | { readonly _tag: "ConnectionChanged"; readonly state: AmqpConnection.State }
  | { readonly _tag: "Confirmed"; readonly message: HelloMessage }
  | { readonly _tag: "PublishingAgain"; readonly message: HelloMessage; readonly error: PublishError.PublishError }
  | { readonly _tag: "NotConfirmed"; readonly message: HelloMessage; readonly error: PublishError.PublishError }
  | { readonly _tag: "Handled"; readonly message: Received; readonly times: number }
  | { readonly _tag: "HandlerFailed"; readonly message: Received; readonly reason: string; readonly willRetry: boolean }
  | { readonly _tag: "DeadLettered"; readonly message: Received }

/** Where a run tells what happens in it. */
export class Reporter extends Context.Service<Reporter, {
  readonly report: (event: Event) => Effect.Effect<void>
}>()("effect-amqp-example/Reporter") {}
