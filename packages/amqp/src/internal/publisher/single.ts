/**
 * One message by one fiber, which waits for its outcome.
 */
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import type { Message } from "../../AmqpMessage.ts"
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
  readonly spans: Span.Spans | undefined
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
export const make = ({ channels, prepare, spans, wakeLater }: SingleOptions) => {
  const publish = (message: Message, span?: Tracer.Span): Effect.Effect<void, PublishError> =>
    Effect.suspend(() => {
      const encoded = span === undefined ? prepare(message) : prepare(message, Span.headers(message, span))
      if (span !== undefined) spans!.encoded(span, encoded)
      if (encoded instanceof PublishError) return Effect.fail(encoded)
      return Effect.callback<void, PublishError>((resume) => {
        const entry = channels.submit(encoded, new Waiter(resume, wakeLater))
        return Effect.sync(() => channels.abandon(entry))
      })
    })
  if (spans === undefined) return (message: Message) => publish(message)
  return (message: Message): Effect.Effect<void, PublishError> =>
    Effect.flatMap(
      spans.begin(message),
      (span) => Effect.onExit(publish(message, span), (exit) => Effect.sync(() => spans.end(span, exit)))
    )
}
