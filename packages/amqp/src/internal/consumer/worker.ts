/**
 * A worker: a handler that is fed from a queue, from its attachment to its drain. The same for single deliveries and for
 * batches.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import type { AmqpError } from "../../AmqpError.ts"
import { allOrNothing } from "../allOrNothing.ts"
import { labelOf } from "../connection/queueName.ts"
import { AmqpConnection } from "../connection/service.ts"
import type { Acknowledgements } from "../delivery/acknowledgements.ts"
import * as Monotonic from "../monotonic.ts"
import * as WakeLater from "../wakeLater.ts"
import { keyTemplate } from "../wire/destination.ts"
import { guard } from "./ackTimeout.ts"
import type { Attachment } from "./attachment.ts"
import { attach } from "./attachment.ts"
import * as DelayedRetry from "./delayedRetry.ts"
import { Dispatcher } from "./dispatcher.ts"
import { HandlerTimeout } from "./errors.ts"
import * as FailurePolicy from "./failurePolicy.ts"
import type { ConsumerCounts } from "./metrics.ts"
import { ConsumerMetrics } from "./metrics.ts"
import type { FailurePolicy as Policy, HandlingOptions, Source } from "./options.ts"
import { resolveSource, resolveTiming } from "./options.ts"
import type { Portion, PortionKind } from "./portions.ts"
import type { SpanOptions, TemplatedOptions } from "./span.ts"
import { withConsumerSpan } from "./span.ts"

/** What handlers find, except the scope that each handler has for itself. */
export type HandlerContext<R> = Context.Context<Exclude<R, Scope.Scope>>

/** What a worker does, and how. */
export interface WorkerOptions<T, E, R> {
  readonly queue: Source
  readonly handler: (content: T) => Effect.Effect<unknown, E, R>
  readonly options: HandlingOptions<E, T>
  readonly portions: PortionKind<T>
  /** Messages of all portions that are handled at once. */
  readonly atOnce: number
  /** Portions that are handled at once. */
  readonly concurrency: number
  readonly orderedBy: ((content: T) => string) | undefined
  readonly context: HandlerContext<R>
}

/** A worker at work. */
export interface Worker extends Pick<Attachment, "health" | "ended"> {
  readonly counts: () => ConsumerCounts
}

// How long handlers may take to clean up when the drain interrupts them.
const interruptGrace = Duration.seconds(1)

/** Works until the scope ends, and drains then. Returns when the broker has the consumer. */
export const start = <T, E, R>(
  options: WorkerOptions<T, E, R>
): Effect.Effect<Worker, AmqpError, AmqpConnection | Scope.Scope> => allOrNothing(begin(options))

/** Gives a handler its scope, its deadline and its span. */
const equip = <T, E, R>(
  { handler, options, portions, queue }: WorkerOptions<T, E, R>,
  handlerTimeout: Duration.Duration | undefined
): (content: T) => Effect.Effect<unknown, E | HandlerTimeout, Exclude<R, Scope.Scope>> => {
  let handle = (content: T): Effect.Effect<unknown, E | HandlerTimeout, Exclude<R, Scope.Scope>> =>
    Effect.scoped(handler(content))
  if (handlerTimeout !== undefined) {
    const inTime = handle
    handle = (content) =>
      Effect.timeoutOrElse(inTime(content), {
        duration: handlerTimeout,
        orElse: () =>
          Effect.fail(
            new HandlerTimeout({ queue: portions.first(content).queue, millis: Duration.toMillis(handlerTimeout) })
          )
      })
  }
  if (options.tracing !== undefined && options.tracing !== false) {
    const traced = handle
    const spans: SpanOptions = {
      tracing: options.tracing === true ? "link" : options.tracing,
      keyTemplate: (options as TemplatedOptions)[keyTemplate],
      isServerNamed: typeof queue === "object" && queue._tag === "ServerNamedQueue"
    }
    handle = (content) => withConsumerSpan(traced(content), portions.all(content), spans)
  }
  return handle
}

const begin = Effect.fnUntraced(function*<T, E, R>(
  workerOptions: WorkerOptions<T, E, R>
): Effect.fn.Return<Worker, AmqpError, AmqpConnection | Scope.Scope> {
  const { options, portions } = workerOptions
  const timing = yield* resolveTiming(options)
  const source = yield* resolveSource(workerOptions.queue, options, workerOptions.atOnce)
  const handler = equip(workerOptions, timing.handlerTimeout)
  const context: Context.Context<Exclude<R, Scope.Scope>> = workerOptions.context
  const onFailure: Policy<E, T> = options.onFailure ?? "deadLetter"
  const connection = yield* AmqpConnection
  const clock = yield* Clock.Clock
  const queue = labelOf(source.queue)
  const delays = yield* DelayedRetry.make(source.queue)
  if (typeof onFailure === "object") yield* delays.prepare(onFailure)
  const judge = FailurePolicy.make<T, E | HandlerTimeout>({
    onFailure,
    delays,
    settle(delivery, fate) {
      const written = fate === "retry" || fate === "park"
        ? delivery.ackUnsafe(false)
        : delivery.nackUnsafe(false, fate === "requeue")
      if (written) metrics.unhandled[fate]++
    }
  })

  const ownAnnotations = Context.get(context, References.CurrentLogAnnotations)
  const contextOf = (content: T): Context.Context<Exclude<R, Scope.Scope>> => {
    const { deliveryTag, messageId } = portions.first(content)
    return Context.add(
      context,
      References.CurrentLogAnnotations,
      { ...ownAnnotations, queue, deliveryTag, messageId }
    )
  }

  let acknowledgements: Acknowledgements | undefined
  const flush = (): void => {
    acknowledgements?.flush()
    metrics.flush()
  }
  const dispatcher: Dispatcher<T> = new Dispatcher<T>({
    concurrency: workerOptions.concurrency,
    keyOf: workerOptions.orderedBy,
    clock,
    wakeLater: yield* WakeLater.make,
    handle: ({ content }) => Effect.runForkWith(contextOf(content))(handler(content)),
    resolve: ({ content, isInterrupted }, cause) =>
      Effect.runForkWith(contextOf(content))(judge({
        content,
        deliveries: portions.all(content),
        // The dispatcher passes on what it had from the handler, and does not look at it.
        cause: cause as Cause.Cause<E | HandlerTimeout>,
        isInterrupted
      })),
    onSettled({ content, startedAt }, fate) {
      if (fate !== "each") {
        const written = portions.settle(content, fate)
        if (fate === "ack") metrics.acked += written
        else metrics.unhandled[fate] += written
      }
      if (startedAt !== undefined) metrics.handled(Monotonic.millis(clock) - startedAt)
    },
    flush
  })
  const metrics: ConsumerMetrics = new ConsumerMetrics(queue, context, () => dispatcher.running)
  const intake = yield* portions.intake((content, arrivedAt) => dispatcher.offer(content, arrivedAt))

  const messagesOf = (unsettled: Iterable<Portion<T>>): number => {
    let messages = 0
    for (const { content } of unsettled) messages += portions.all(content).length
    return messages
  }
  /** Begins nothing more; returns how many messages had not begun. */
  const stop = (): number => {
    const all = messagesOf(dispatcher.unsettled())
    dispatcher.stop()
    return all - messagesOf(dispatcher.unsettled()) + intake.forget()
  }
  const idle = Effect.callback<void>((resume) => dispatcher.whenIdle(() => resume(Effect.void)))
  const interruptHandlers = Effect.suspend(() => {
    // A copy, because an interrupted handler may leave at once.
    Array.from(dispatcher.unsettled()).forEach((portion) => dispatcher.interrupt(portion))
    return Effect.timeoutOption(idle, interruptGrace)
  })

  // Handlers may begin while the consumer is still being attached, and must not outlive it if that fails.
  yield* Effect.addFinalizer(() => {
    stop()
    return interruptHandlers
  })

  if (Duration.isFinite(timing.ackTimeout)) {
    yield* Effect.forkScoped(guard({
      dispatcher,
      ackTimeout: timing.ackTimeout,
      whenAckTimeout: timing.whenAckTimeout,
      contextOf
    }))
  }

  const attachment = yield* attach(connection, source, {
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

  yield* attachment.ended.pipe(
    Effect.catch((error) => Effect.logError("AMQP consumer ended", { queue, reason: error.message })),
    Effect.forkScoped
  )

  // After the channel's, so that it runs before: the channel is closed when the acknowledgements are written.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      const waiting = stop()
      const begun = messagesOf(dispatcher.unsettled())
      const delivered = metrics.delivered
      yield* attachment.cancel
      yield* Effect.timeoutOption(idle, timing.drainTimeout)
      const unfinished = messagesOf(dispatcher.unsettled())
      if (unfinished > 0) yield* interruptHandlers
      flush()
      const released = waiting + unfinished + metrics.delivered - delivered
      if (begun + released > 0) {
        yield* Effect.logInfo("AMQP consumer drained", { queue, finished: begun - unfinished, released })
      }
    })
  )

  return { health: attachment.health, ended: attachment.ended, counts: () => metrics.counts() }
})
