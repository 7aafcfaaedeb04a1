/**
 * The program: an exchange, a queue, and a run of messages that each end as confirmed or as failed.
 *
 * It does no input or output of its own. What happens goes to a {@link Reporter}, so that the same program runs on a
 * terminal, in a pipe and in a test.
 */
import { Context, Effect, Schedule } from "effect"
import type { Duration } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import type { AmqpError, AmqpMessage, PublishError } from "effect-amqp"

/** Where the messages go. */
export const exchange = AmqpTopology.exchange("my_exchange")

/** Where they end up. */
export const queue = AmqpTopology.queue("my_queue")

/** What leads from one to the other. */
export const routingKey = "my_routing_key"

/** All three as one value, declared on every session before anything is published. */
export const topology = AmqpTopology.make(exchange, queue, AmqpTopology.bind(queue, exchange, routingKey))

/** A message of this program: its text is its body. */
export interface HelloMessage extends AmqpMessage.Message {
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

/** Where a run tells what happens in it. */
export class Reporter extends Context.Service<Reporter, {
  readonly report: (event: Event) => Effect.Effect<void>
}>()("effect-amqp-example/HelloWorld/Reporter") {}

/** How to publish. */
export interface Options<R> {
  readonly count: number
  /** The pause between two messages. */
  readonly interval: Duration.Input
  /** The pause before a message is published again. */
  readonly retryInterval: Duration.Input
  /** How many times a message is published again at most. */
  readonly retryMax: number
  /** Runs once, when half of the messages are through. */
  readonly halfway: Effect.Effect<void, never, R>
}

/**
 * Publish `Hello World! - 0`, `Hello World! - 1` and so on, one after the other.
 *
 * A message that fails does not stop the run, a connection that gave up does. Interrupted, the run waits for the
 * outcome of the message that is on its way, and reports it.
 */
export const run = Effect.fnUntraced(function*<R>(
  options: Options<R>
): Effect.fn.Return<
  void,
  AmqpError.AmqpError,
  AmqpConnection.AmqpConnection | AmqpPublisher.AmqpPublisher | Reporter | R
> {
  const connection = yield* AmqpConnection.AmqpConnection
  const runId = crypto.randomUUID()

  const publishAll = Effect.gen(function*() {
    for (let n = 0; n < options.count; n++) {
      if (n === Math.floor(options.count / 2)) yield* options.halfway
      // The same identity for every attempt, and another one in the next run: consumers can drop duplicates by it.
      yield* publish({ exchange, routingKey, messageId: `${runId}-${n}`, body: `Hello World! - ${n}` }, options)
      if (n < options.count - 1) yield* Effect.sleep(options.interval)
    }
  })

  // Without the race, a connection that gave up would fail every message that is left, one by one.
  yield* Effect.raceFirst(publishAll, connection.finished)
})

const publish = Effect.fnUntraced(function*(
  message: HelloMessage,
  options: { readonly retryInterval: Duration.Input; readonly retryMax: number }
) {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  const { report } = yield* Reporter
  let outcome: Event | undefined

  // Only the pauses between attempts can be interrupted: an attempt has a deadline, and is waited for.
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
  yield* attempt.pipe(
    Effect.retry(whileItMayHeal),
    Effect.ignore,
    Effect.ensuring(Effect.suspend(() => outcome === undefined ? Effect.void : report(outcome)))
  )
})
