/**
 * A consumer at work, from its subscription to its drain. The same for single messages and for batches.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import { AmqpConnection } from "../../AmqpConnection.ts"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { allOrNothing } from "../allOrNothing.ts"
import { labelOf } from "../connection/queueName.ts"
import type { DeliveryChannel } from "../delivery/acknowledgements.ts"
import * as Monotonic from "../monotonic.ts"
import * as WakeLater from "../wakeLater.ts"
import { guard } from "./ackTimeout.ts"
import * as DelayedRetry from "./delayedRetry.ts"
import type { Settlement, Work } from "./dispatcher.ts"
import { Dispatcher } from "./dispatcher.ts"
import type { Outcome } from "./failurePolicy.ts"
import * as FailurePolicy from "./failurePolicy.ts"
import type { ConsumerCounts } from "./metrics.ts"
import { ConsumerMetrics } from "./metrics.ts"
import type { Subscription, SubscriptionOptions } from "./subscription.ts"
import { subscribe } from "./subscription.ts"

/** What a handler is given at once: a delivery, or a batch of them. */
export interface Portions<T> {
  readonly first: (portion: T) => Delivery
  readonly all: (portion: T) => ReadonlyArray<Delivery>
  /** Tell the broker; returns for how many messages that was written. */
  readonly settle: (portion: T, settlement: Exclude<Settlement, "delayed">) => number
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

// How long handlers may take to clean up when the drain interrupts them.
const interruptGrace = Duration.seconds(1)

/** Consume until the scope ends, and drain then. Returns when the broker has the consumer. */
export const consume = <T, E, R>(
  options: ConsumptionOptions<T, E, R>
): Effect.Effect<Consumption, AmqpError, AmqpConnection | Scope.Scope> => allOrNothing(begin(options))

const begin = Effect.fnUntraced(function*<T, E, R>(
  options: ConsumptionOptions<T, E, R>
): Effect.fn.Return<Consumption, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const clock = yield* Clock.Clock
  const queue = labelOf(options.queue)
  const { onFailure, portions } = options
  const delays = yield* DelayedRetry.make(options.queue)
  if (typeof onFailure === "object") yield* delays.prepare(onFailure.schedule)
  const judge = FailurePolicy.make({
    onFailure,
    delays,
    settle(delivery, fate) {
      const written = fate === "retry" || fate === "park"
        ? delivery.ackUnsafe(false)
        : delivery.nackUnsafe(false, fate === "requeue")
      if (written) metrics.failed[fate]++
    }
  })

  const ownAnnotations = Context.get(options.context, References.CurrentLogAnnotations)
  const contextOf = (portion: T): Context.Context<R> => {
    const { deliveryTag, messageId } = portions.first(portion)
    return Context.add(
      options.context,
      References.CurrentLogAnnotations,
      { ...ownAnnotations, queue, deliveryTag, messageId }
    )
  }

  let acknowledgements: DeliveryChannel | undefined
  const flush = (): void => {
    acknowledgements?.flush()
    metrics.flush()
  }
  const dispatcher: Dispatcher<T> = new Dispatcher<T>({
    concurrency: options.concurrency,
    keyOf: options.orderedBy,
    clock,
    wakeLater: yield* WakeLater.make,
    handle: (work) => Effect.runForkWith(contextOf(work.portion))(options.handler(work.portion)),
    resolve: (work, cause) =>
      Effect.runForkWith(contextOf(work.portion))(judge({
        portion: work.portion,
        deliveries: portions.all(work.portion),
        // The dispatcher passes on what it had from the handler, and does not look at it.
        cause: cause as Cause.Cause<E>,
        isInterrupted: work.isInterrupted
      })),
    onSettled(work, settlement) {
      if (settlement !== "delayed") {
        const written = portions.settle(work.portion, settlement)
        if (settlement === "ack") metrics.acked += written
        else metrics.failed[settlement] += written
      }
      if (work.startedAt !== undefined) metrics.handled(Monotonic.millis(clock) - work.startedAt)
    },
    flush
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
    // A copy, because an interrupted handler may leave at once.
    Array.from(dispatcher.unsettled()).forEach((work) => dispatcher.interrupt(work))
    return Effect.timeoutOption(idle, interruptGrace)
  })

  // Handlers may begin while the subscription is still being made, and must not outlive it if that fails.
  yield* Effect.addFinalizer(() => {
    stop()
    return interruptHandlers
  })

  if (Duration.isFinite(options.ackTimeout)) {
    yield* Effect.forkScoped(guard({
      dispatcher,
      ackTimeout: options.ackTimeout,
      whenAckTimeout: options.whenAckTimeout,
      contextOf
    }))
  }

  const subscription = yield* subscribe(connection, options, {
    onOpened(opened) {
      acknowledgements?.flush()
      acknowledgements = opened
    },
    onDelivery(delivery) {
      metrics.delivered++
      intake.offer(delivery, Monotonic.millis(clock))
    },
    onDetached() {
      acknowledgements?.flush()
      intake.forget()
      dispatcher.forget()
    },
    onStale(wasPromised) {
      metrics.stale++
      if (wasPromised) metrics.acked--
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
      flush()
      const released = waiting + unfinished + metrics.delivered - delivered
      if (begun + released > 0) {
        yield* Effect.logInfo("AMQP consumer drained", { queue, finished: begun - unfinished, released })
      }
    })
  )

  return { health: subscription.health, ended: subscription.ended, counts: () => metrics.counts() }
})
