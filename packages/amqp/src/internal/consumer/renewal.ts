/**
 * Renews messages: where every delivery counts, one that is given back for the last time would be dead-lettered or
 * dropped by its queue, though no handler failed. A copy at the end of the queue, whose deliveries count from 0, takes its
 * place, confirmed before the original is acknowledged.
 *
 * @see https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import * as AmqpPublisher from "../../AmqpPublisher.ts"
import { AmqpConnection } from "../connection/service.ts"
import * as RetryHeaders from "../delivery/retryHeaders.ts"
import { readableHeaders } from "../wire/properties.ts"
import { copyTo } from "./delayedRetry.ts"
import { write } from "./fate.ts"

/** Renews the messages of one queue. */
export interface Renewal {
  /** Begins to renew a message, once, and calls back when it was given back, or could not be renewed and was nacked. */
  readonly renew: (delivery: Delivery, onGivenBack: () => void) => void
  /** Waits for what is being renewed, for a while. */
  readonly settled: Effect.Effect<void>
}

const patience = Duration.seconds(5)

/** Renews messages until the scope ends; a publisher is opened for it when it is first needed. */
export const make = Effect.fnUntraced(function*(
  queue: string
): Effect.fn.Return<Renewal, never, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  // Its place among the finalizers is here, whenever it is filled.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const oneAtATime = Semaphore.makeUnsafe(1)
  let publisher: AmqpPublisher.AmqpPublisher | undefined
  const open: Effect.Effect<AmqpPublisher.AmqpPublisher, AmqpError> = oneAtATime.withPermit(
    Effect.suspend(() =>
      publisher !== undefined
        ? Effect.succeed(publisher)
        : AmqpPublisher.make({ maxMessageBytes: Number.MAX_SAFE_INTEGER, purpose: "retry" }).pipe(
          Scope.provide(scope),
          Effect.provideService(AmqpConnection, connection),
          Effect.tap((made) => Effect.sync(() => publisher = made))
        )
    )
  )
  const fibers = yield* FiberSet.make<void>()
  const run = yield* FiberSet.runtime(fibers)<never>()

  const begun = new WeakSet<Delivery>()
  const renew = Effect.fnUntraced(function*(delivery: Delivery): Effect.fn.Return<void, never> {
    const { deliveryTag, messageId } = delivery
    const message = copyTo(queue, delivery, queue)
    yield* Effect.flatMap(open, (publisher) =>
      publisher.publish({
        ...message,
        headers: {
          ...message.headers,
          [RetryHeaders.attemptHeader]: RetryHeaders.delays(readableHeaders(delivery.properties), queue) + 1
        }
      })).pipe(
        Effect.matchEffect({
          onSuccess: () =>
            Effect.andThen(
              Effect.sync(() => delivery.ackUnsafe(false)),
              Effect.logInfo("AMQP message renewed: its queue would not have delivered it again", {
                queue,
                deliveryTag,
                messageId
              })
            ),
          onFailure: (error) =>
            Effect.andThen(
              Effect.logError("AMQP message could not be renewed: its queue dead-letters or drops it now", {
                queue,
                deliveryTag,
                messageId,
                reason: error.message
              }),
              Effect.sync(() => write(delivery, "giveBack"))
            )
        }),
        Effect.asVoid
      )
  })

  return {
    renew: (delivery, onGivenBack) => {
      if (begun.has(delivery)) return
      begun.add(delivery)
      run(Effect.andThen(renew(delivery), Effect.sync(onGivenBack)))
    },
    settled: Effect.asVoid(Effect.timeoutOption(FiberSet.awaitEmpty(fibers), patience))
  }
})
