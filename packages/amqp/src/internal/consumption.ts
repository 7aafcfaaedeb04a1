/**
 * A consumer at work: a subscription, the handlers that it feeds, the policy for those that fail, the guard against the
 * broker's patience, and the drain at the end. The same for single messages and for batches.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { AmqpConnection } from "../AmqpConnection.ts"
import type { AmqpError } from "../AmqpError.ts"
import type { Delivery } from "../AmqpMessage.ts"
import * as AfterCallback from "./afterCallback.ts"
import type { ConsumerCounts } from "./consumerMetrics.ts"
import { ConsumerMetrics } from "./consumerMetrics.ts"
import * as DelayedRetry from "./delayedRetry.ts"
import type { DeliveryChannel } from "./deliveryChannel.ts"
import type { Settlement, Work } from "./dispatcher.ts"
import { Dispatcher } from "./dispatcher.ts"
import { labelOf } from "./queueName.ts"
import type { Subscription, SubscriptionOptions } from "./subscription.ts"
import { subscribe } from "./subscription.ts"

/** What is to become of a message whose handler failed. */
export type Outcome =
  | "deadLetter"
  | "requeue"
  | { readonly _tag: "Retry"; readonly schedule: Schedule.Schedule<unknown> }

/** What a handler is given at once: a delivery, or a batch of them. */
export interface Portions<T> {
  readonly first: (portion: T) => Delivery
  readonly all: (portion: T) => ReadonlyArray<Delivery>
  /** Tell the broker; returns for how many messages that was written. */
  readonly settle: (portion: T, settlement: Settlement) => number
  /** How deliveries become portions. */
  readonly intake: (
    offer: (portion: T, arrivedAt: number) => void
  ) => Effect.Effect<Intake, never, Scope.Scope>
}

/** Makes portions of deliveries; called inside driver callbacks. */
export interface Intake {
  readonly offer: (delivery: Delivery, arrivedAt: number) => void
  /** Forget what has not become a portion; returns how many deliveries that was. */
  readonly forget: () => number
}

/** How to consume. */
export interface ConsumptionOptions<T, E, R> extends SubscriptionOptions {
  readonly portions: Portions<T>
  readonly concurrency: number
  readonly orderedBy: ((portion: T) => string) | undefined
  readonly handler: (portion: T) => Effect.Effect<unknown, E, R>
  /** Where handlers run. */
  readonly context: Context.Context<R>
  readonly onFailure: Outcome | ((error: E, portion: T) => Outcome)
  readonly ackTimeout: Duration.Duration
  readonly whenAckTimeout: "warn" | "interrupt"
  readonly drainTimeout: Duration.Duration
}

/** A consumer at work. */
export interface Consumption extends Pick<Subscription, "health" | "ended"> {
  readonly counts: () => ConsumerCounts
}

// When the guard acts, as a part of the broker's delivery acknowledgement timeout.
const patience = 0.8

// How long a message rests before it is requeued because it could not be put into a wait queue.
const requeuePause = Duration.seconds(1)

// How long handlers may take to clean up when the drain interrupts them.
const interruptGrace = Duration.seconds(1)

/** Consume until the scope ends, and drain then. Returns when the broker has the consumer. */
export const consume = Effect.fnUntraced(function*<T, E, R>(
  options: ConsumptionOptions<T, E, R>
): Effect.fn.Return<Consumption, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const clock = yield* Clock.Clock
  const queue = labelOf(options.queue)
  const { onFailure, portions } = options
  const delays = yield* DelayedRetry.make(options.queue)
  if (typeof onFailure === "object") yield* delays.prepare(onFailure.schedule)

  const ownAnnotations = Context.get(options.context, References.CurrentLogAnnotations)
  const contextOf = (portion: T): Context.Context<R> => {
    const { deliveryTag, messageId } = portions.first(portion)
    return Context.add(
      options.context,
      References.CurrentLogAnnotations,
      { ...ownAnnotations, queue, deliveryTag, messageId }
    )
  }

  /** Put a message, or each of a batch, where its next attempt waits. */
  const delay = (portion: T, schedule: Schedule.Schedule<unknown>): Effect.Effect<Settlement> =>
    Effect.forEach(
      portions.all(portion),
      (delivery) =>
        Effect.tap(delays.delay(delivery, schedule), (went) => {
          metrics.failed[went]++
          return Effect.logWarning(went === "retry" ? "AMQP message will be retried" : "AMQP message parked")
        }),
      { concurrency: "unbounded", discard: true }
    ).pipe(
      Effect.as<Settlement>("delayed"),
      Effect.catch((error) =>
        Effect.logError("AMQP message could not be delayed, requeueing it", { reason: error.message }).pipe(
          Effect.andThen(Effect.sleep(requeuePause)),
          Effect.as<Settlement>("requeue")
        )
      )
    )

  const judge = (work: Work<T>, cause: Cause.Cause<E>): Effect.Effect<Settlement> => {
    if (work.isInterrupted && Cause.hasInterrupts(cause)) return Effect.succeed("requeue")
    if (Cause.hasDies(cause)) {
      return Effect.as(Effect.logError("AMQP handler died, its message is dead-lettered", cause), "deadLetter")
    }
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None") {
      // Requeued each time, the message of a handler that always interrupts itself would go round without a pause.
      const seen = portions.all(work.portion).some((delivery) => delivery.redelivered)
      return Effect.as(Effect.logWarning("AMQP handler interrupted itself"), seen ? "deadLetter" : "requeue")
    }
    const outcome = typeof onFailure === "function" ? onFailure(error.value, work.portion) : onFailure
    const failed = Effect.logWarning("AMQP handler failed", cause)
    return typeof outcome === "object"
      ? Effect.andThen(failed, delay(work.portion, outcome.schedule))
      : Effect.as(failed, outcome)
  }

  let acknowledgements: DeliveryChannel | undefined
  const dispatcher: Dispatcher<T> = new Dispatcher<T>({
    concurrency: options.concurrency,
    keyOf: options.orderedBy,
    clock,
    afterCallback: yield* AfterCallback.make,
    handle: (work) => Effect.runForkWith(contextOf(work.portion))(options.handler(work.portion)),
    resolve: (work, cause) =>
      Effect.suspend(() => judge(work, cause as Cause.Cause<E>)).pipe(
        Effect.tapDefect((defect) => Effect.logError("AMQP failure policy died, its message is dead-lettered", defect)),
        Effect.runForkWith(contextOf(work.portion))
      ),
    onSettled(work, settlement) {
      const written = portions.settle(work.portion, settlement)
      if (settlement === "ack") metrics.acked += written
      else if (settlement !== "delayed") metrics.failed[settlement] += written
      if (work.startedAt !== undefined) metrics.handled(clock.currentTimeMillisUnsafe() - work.startedAt)
    },
    onTurn() {
      acknowledgements?.flush()
      metrics.flush()
    }
  })
  const metrics: ConsumerMetrics = new ConsumerMetrics(queue, options.context, () => dispatcher.running)
  const intake = yield* portions.intake((portion, arrivedAt) => dispatcher.offer(portion, arrivedAt))

  const messagesOf = (works: Iterable<Work<T>>): number => {
    let messages = 0
    for (const work of works) messages += portions.all(work.portion).length
    return messages
  }
  /** Begin nothing more; returns how many messages had not begun. */
  const stop = (): number => {
    const all = messagesOf(dispatcher.unsettled())
    dispatcher.stop()
    return all - messagesOf(dispatcher.unsettled()) + intake.forget()
  }
  const idle = Effect.callback<void>((resume) => dispatcher.whenIdle(() => resume(Effect.void)))
  const interruptHandlers = Effect.suspend(() => {
    for (const work of [...dispatcher.unsettled()]) dispatcher.interrupt(work)
    return Effect.timeoutOption(idle, interruptGrace)
  })

  // Handlers may begin while the subscription is still being made, and must not outlive it if that fails.
  yield* Effect.addFinalizer(() => {
    stop()
    return interruptHandlers
  })

  if (Duration.isFinite(options.ackTimeout)) {
    yield* Effect.forkScoped(guard(dispatcher, clock, options, contextOf))
  }

  const subscription = yield* subscribe(connection, options, {
    onOpened(opened) {
      acknowledgements = opened
    },
    onDelivery(delivery) {
      metrics.delivered++
      intake.offer(delivery, clock.currentTimeMillisUnsafe())
    },
    onDetached() {
      intake.forget()
      dispatcher.forget()
    },
    onStale() {
      metrics.stale++
    }
  })

  yield* subscription.ended.pipe(
    Effect.catch((error) => Effect.logError("AMQP consumer ended", { queue, reason: error.message })),
    Effect.forkScoped
  )

  // After the channel's, so that it runs before: the channel is closed when the acknowledgements are written.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      const waiting = stop()
      const begun = messagesOf(dispatcher.unsettled())
      const delivered = metrics.delivered
      yield* subscription.cancel
      yield* Effect.timeoutOption(idle, options.drainTimeout)
      const unfinished = messagesOf(dispatcher.unsettled())
      if (unfinished > 0) yield* interruptHandlers
      metrics.flush()
      const released = waiting + unfinished + metrics.delivered - delivered
      if (begun + released > 0) {
        yield* Effect.logInfo("AMQP consumer drained", { queue, finished: begun - unfinished, released })
      }
    })
  )

  return { health: subscription.health, ended: subscription.ended, counts: () => metrics.counts() }
})

/** Warn, or give the message back, before the broker loses its patience and closes the channel under everybody. */
const guard = <T, E, R>(
  dispatcher: Dispatcher<T>,
  clock: Clock.Clock,
  options: ConsumptionOptions<T, E, R>,
  contextOf: (portion: T) => Context.Context<R>
): Effect.Effect<never> =>
  Effect.gen(function*() {
    const limit = Duration.toMillis(options.ackTimeout) * patience
    const warned = new WeakSet<Work<T>>()
    for (;;) {
      const now = clock.currentTimeMillisUnsafe()
      let next = now + limit
      for (const work of [...dispatcher.unsettled()]) {
        const due = work.arrivedAt + limit
        if (due > now) {
          next = Math.min(next, due)
        } else if (!warned.has(work)) {
          warned.add(work)
          yield* Effect.logWarning("AMQP message is near the broker's delivery acknowledgement timeout", {
            unacknowledgedMillis: now - work.arrivedAt,
            timeoutMillis: Duration.toMillis(options.ackTimeout)
          }).pipe(Effect.provideContext(contextOf(work.portion)))
          if (options.whenAckTimeout === "interrupt") dispatcher.interrupt(work)
        }
      }
      yield* Effect.sleep(next - now)
    }
  })
