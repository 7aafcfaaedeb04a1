/**
 * A run of messages, one after the other, that each end as confirmed or as failed.
 */
import { Effect, Schedule } from "effect"
import type { Duration } from "effect"
import { AmqpPublisher } from "effect-amqp"
import type { PublishError } from "effect-amqp"
import type { Event, HelloMessage } from "./Reporter.ts"
import { Reporter } from "./Reporter.ts"

/** Options of a publishing run. */
export interface Options<R> {
  readonly count: number
  /** The pause between two messages. */
  readonly interval: Duration.Input
  /** The pause before a message is published again. */
  readonly retryInterval: Duration.Input
  /** The largest number of times that a message is published again. */
  readonly retryMax: number
  /** Runs once, in the middle of the run. */
  readonly halfway: Effect.Effect<void, never, R>
}

/**
 * Publishes as many messages as the options say; returns the ids of those that were confirmed.
 *
 * A message that fails does not stop the run. An interrupted run waits for the outcome of the message in flight, and
 * reports it.
 */
export const publishAll = Effect.fnUntraced(function*<R>(
  messageOf: (n: number) => Omit<HelloMessage, "messageId">,
  options: Options<R>
): Effect.fn.Return<ReadonlyArray<string>, never, AmqpPublisher.AmqpPublisher | Reporter | R> {
  const runId = crypto.randomUUID()
  const confirmed: Array<string> = []
  for (let n = 0; n < options.count; n++) {
    if (n === Math.floor(options.count / 2)) yield* options.halfway
    // One message id for every attempt, and another id in the next run: consumers can drop duplicates by it.
    const messageId = `${runId}-${n}`
    if (yield* publish({ ...messageOf(n), messageId }, options)) confirmed.push(messageId)
    if (n < options.count - 1) yield* Effect.sleep(options.interval)
  }
  return confirmed
})

const publish = Effect.fnUntraced(function*(
  message: HelloMessage,
  options: { readonly retryInterval: Duration.Input; readonly retryMax: number }
) {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  const { report } = yield* Reporter
  let outcome: Event | undefined

  // Only the pauses between attempts can be interrupted: an attempt ends by its deadline.
  const attempt = publisher.publish(message).pipe(
    Effect.tap(() => {
      outcome = { _tag: "Confirmed", message }
      return Effect.void
    }),
    Effect.tapError((error) => {
      outcome = { _tag: "NotConfirmed", message, error }
      return Effect.void
    }),
    Effect.uninterruptible
  )
  const whileItMayHeal = Schedule.spaced(options.retryInterval).pipe(
    Schedule.upTo({ times: options.retryMax }),
    Schedule.setInputType<PublishError.PublishError>(),
    Schedule.while(({ input }) => input.isRetryable),
    Schedule.tap(({ input }) => report({ _tag: "PublishingAgain", message, error: input }))
  )
  return yield* attempt.pipe(
    Effect.retry(whileItMayHeal),
    Effect.isSuccess,
    Effect.ensuring(Effect.suspend(() => outcome === undefined ? Effect.void : report(outcome)))
  )
})
