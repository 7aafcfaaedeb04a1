/**
 * One message by one fiber, which waits for its outcome.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Headers, Message } from "../../AmqpMessage.ts"
import { PublishError } from "../../PublishError.ts"
import type { WakeLater } from "../wakeLater.ts"
import type { Channels } from "./channels.ts"
import type { Entry, Outcome, Owner } from "./entry.ts"
import type { Prepare } from "./prepare.ts"
import * as Span from "./span.ts"

/** What a message is sent with. */
export interface SingleOptions {
  readonly channels: Channels
  readonly prepare: Prepare
  readonly wakeLater: WakeLater
  readonly clock: Clock.Clock
  readonly tracing: boolean
}

type Resume = (effect: Effect.Effect<void, PublishError>) => void

/** The fiber that waits for a message, resumed when the driver's callback is over. */
class Waiter implements Owner {
  readonly #resume: Resume
  readonly #wakeLater: WakeLater

  constructor(resume: Resume, wakeLater: WakeLater) {
    this.#resume = resume
    this.#wakeLater = wakeLater
  }

  settled(reason: Outcome, { encoded }: Entry): void {
    this.#wakeLater(() =>
      this.#resume(
        reason === undefined
          ? Effect.void
          : Effect.fail(new PublishError({ messageId: encoded.properties.messageId, reason }))
      )
    )
  }
}

/** Makes the function that publishes one message. */
export const make = ({ channels, clock, prepare, tracing, wakeLater }: SingleOptions) => {
  const publish = (message: Message, headers?: Headers): Effect.Effect<void, PublishError> =>
    Effect.suspend(() => {
      const encoded = prepare(message, headers)
      if (encoded instanceof PublishError) return Effect.fail(encoded)
      return Effect.callback<void, PublishError>((resume) => {
        const entry = channels.submit(encoded, new Waiter(resume, wakeLater))
        return Effect.sync(() => channels.abandon(entry))
      })
    })
  if (!tracing) return (message: Message) => publish(message)
  return (message: Message): Effect.Effect<void, PublishError> =>
    Effect.flatMap(
      Span.begin(message),
      (span) =>
        Effect.onExit(publish(message, Span.headers(message, span)), (exit) =>
          Effect.sync(() => Span.end(span, clock, exit)))
    )
}
