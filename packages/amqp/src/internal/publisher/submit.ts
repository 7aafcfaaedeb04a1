/**
 * One message that its fiber does not wait for: its caller goes on, and hears only of a failure.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type { Message } from "../../AmqpMessage.ts"
import { PublishError } from "../../PublishError.ts"
import type { Entry, Outcome, Owner } from "./entry.ts"
import type { SingleOptions } from "./single.ts"
import * as Span from "./span.ts"

/** What messages are submitted with. */
export interface SubmitOptions extends SingleOptions {
  /** So many messages may wait to be written before those who submit more wait too. */
  readonly maxWaiting: number
}

/** Hands messages over. */
export interface Submitting {
  readonly submit: <R>(
    message: Message,
    onFailure: (error: PublishError) => Effect.Effect<void, never, R>
  ) => Effect.Effect<void, never, R>
  /** Waits for those who hear of failures. */
  readonly heard: Effect.Effect<void>
}

type Heard = (error: PublishError | undefined) => void

/** A message whose fiber has gone on, unless it waits for the message because too many others wait. */
class Handed implements Owner {
  readonly #options: Pick<SubmitOptions, "spans" | "wakeLater">
  /** Hears of the outcome later; not set as long as the message is being submitted. */
  #heard: Heard | undefined
  #wake: (() => void) | undefined
  outcome: { readonly error: PublishError | undefined } | undefined

  constructor(options: Pick<SubmitOptions, "spans" | "wakeLater">) {
    this.#options = options
  }

  settled(reason: Outcome, { encoded }: Entry): void {
    const error = reason && new PublishError({ messageId: encoded.properties.messageId, reason })
    this.outcome = { error }
    const { spans, wakeLater } = this.#options
    const heard = this.#heard
    if (heard !== undefined && (error !== undefined || spans !== undefined)) wakeLater(() => heard(error))
    if (this.#wake !== undefined) wakeLater(this.#wake)
  }

  hear(heard: Heard): void {
    this.#heard = heard
  }

  /** Waits until the message has its outcome; interrupted, it leaves the message on its way. */
  readonly over: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.outcome !== undefined) return resume(Effect.void)
    this.#wake = () => resume(Effect.void)
    return Effect.sync(() => {
      this.#wake = undefined
    })
  })
}

/** Makes the function that hands messages over; those who hear of failures end with the scope. */
export const make = Effect.fnUntraced(function*(
  { channels, maxWaiting, prepare, spans, wakeLater }: SubmitOptions
): Effect.fn.Return<Submitting, never, Scope.Scope> {
  const hearing = yield* FiberSet.make<void>()
  const run = yield* FiberSet.runtime(hearing)<never>()

  const submit: Submitting["submit"] = <R>(
    message: Message,
    onFailure: (error: PublishError) => Effect.Effect<void, never, R>
  ) =>
    Effect.contextWith((context: Context.Context<R>) => {
      const hand = (span?: Tracer.Span): Effect.Effect<void, never, R> => {
        const end = (error: PublishError | undefined): void => {
          if (span !== undefined) spans!.end(span, error === undefined ? Exit.void : Exit.fail(error))
        }
        const encoded = span === undefined ? prepare(message) : prepare(message, Span.headers(message, span))
        if (span !== undefined) spans!.encoded(span, encoded)
        const handed = new Handed({ spans, wakeLater })
        const entry = encoded instanceof PublishError ? undefined : channels.submit(encoded, handed)
        const early = encoded instanceof PublishError ? { error: encoded } : handed.outcome
        if (early !== undefined) {
          end(early.error)
          return early.error === undefined ? Effect.void : onFailure(early.error)
        }
        handed.hear((error) => {
          end(error)
          if (error !== undefined) run(Effect.provideContext(Effect.suspend(() => onFailure(error)), context))
        })
        return entry?.state === "Waiting" && channels.counts().waiting > maxWaiting ? handed.over : Effect.void
      }
      return spans === undefined ? hand() : Effect.flatMap(spans.begin(message), hand)
    })

  return {
    submit,
    // Those who were woken before have begun when it is this fiber's turn.
    heard: Effect.andThen(
      Effect.callback<void>((resume) => wakeLater(() => resume(Effect.void))),
      FiberSet.awaitEmpty(hearing)
    )
  }
})
