/**
 * A worker: a handler that is fed from a queue, from its attachment to its drain. The same for single deliveries and for
 * batches.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { Arguments } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { allOrNothing } from "../allOrNothing.ts"
import { isRabbitMqSince } from "../connection/brokerVersion.ts"
import { labelOf } from "../connection/queueName.ts"
import { AmqpConnection } from "../connection/service.ts"
import type { Session } from "../connection/session.ts"
import type { Acknowledgements } from "../delivery/acknowledgements.ts"
import * as WakeLater from "../wakeLater.ts"
import { readableHeaders } from "../wire/properties.ts"
import { guard } from "./ackTimeout.ts"
import type { Attachment } from "./attachment.ts"
import { attach } from "./attachment.ts"
import type { DeadLetterTarget } from "./deadLetterTarget.ts"
import { isMissing } from "./deadLetterTarget.ts"
import type { HandlerDecision } from "./decision.ts"
import * as DelayedRetry from "./delayedRetry.ts"
import { Dispatcher } from "./dispatcher.ts"
import { equip } from "./equipment.ts"
import type { HandlerTimeout } from "./errors.ts"
import type { Failure } from "./failurePolicy.ts"
import * as FailurePolicy from "./failurePolicy.ts"
import type { Fate, PortionFate } from "./fate.ts"
import { write } from "./fate.ts"
import { slowly, together } from "./giveBack.ts"
import type { ConsumerCounts } from "./metrics.ts"
import { ConsumerMetrics } from "./metrics.ts"
import type { FailurePolicy as Policy, HandlingOptions, Source } from "./options.ts"
import { resolvePolicy, resolveSource, resolveTiming } from "./options.ts"
import type { BatchOutcomes } from "./outcomes.ts"
import { isPartial } from "./outcomes.ts"
import * as Pace from "./pace.ts"
import type { Portion, PortionKind } from "./portions.ts"
import * as Renewal from "./renewal.ts"
import type { QueueTraits } from "./traits.ts"
import { deliveryLimitOn } from "./traits.ts"

/** What handlers find, except the scope that each handler has for itself. */
export type HandlerContext<R> = Context.Context<Exclude<R, Scope.Scope>>

/** What somebody hears who has a worker work for a part of something larger, with a handler that scopes by itself. */
export interface Lifecycle {
  /** No handler begins any more. */
  readonly onHeld: () => void
  /** What was delivered comes again, perhaps elsewhere: the handlers that run with it are about to be interrupted. */
  readonly onDetached: (handlers: ReadonlyArray<Fiber.Fiber<unknown, unknown>>) => void
  /** Runs at the end, when no handler runs and before the broker gives the rest to others. */
  readonly beforeRelease: Effect.Effect<void>
}

/** What a worker does, and how. */
export interface WorkerOptions<T, E, R> {
  readonly queue: Source
  readonly handler: (content: T) => Effect.Effect<unknown, E, R>
  readonly options: HandlingOptions<Exclude<E, HandlerDecision>, T>
  readonly portions: PortionKind<T>
  /** Messages of all portions that are handled at once. */
  readonly atOnce: number
  /** Portions that are handled at once. */
  readonly concurrency: number
  readonly orderedBy: ((content: T) => string) | undefined
  readonly context: HandlerContext<R>
  readonly lifecycle?: Lifecycle | undefined
  /** Acknowledges what is dropped, because a dead letter exchange would keep what is refused. Defaults to `false`. */
  readonly forgetsDropped?: boolean | undefined
  /** How a stream is read whose offsets somebody keeps. */
  readonly reading?: Reading<T, E, R> | undefined
}

/** How a stream is read: from where at each attach, and what becomes of a message whose handler failed. */
export interface Reading<T, E, R> {
  readonly argumentsOn: (session: Session) => Effect.Effect<Arguments, AmqpError>
  /** Judges failures in place of the failure policy of a queue; `handle` tries once more. */
  readonly judge: (
    handle: (content: T) => Effect.Effect<unknown, E | HandlerTimeout, Exclude<R, Scope.Scope>>
  ) => (failure: Failure<T, E | HandlerTimeout>) => Effect.Effect<PortionFate, never, Exclude<R, Scope.Scope>>
}

/** A worker at work. */
export interface Worker extends Pick<Attachment, "health" | "ended" | "pause" | "resume"> {
  readonly counts: () => ConsumerCounts
  /** The handlers that run now. */
  readonly handlers: () => ReadonlyArray<Fiber.Fiber<unknown, unknown>>
}

// How late an acknowledgement may leave, so that others leave with it. A broker that has this much less to do sends more.
const ackMillis = 5

// How long handlers may take to clean up when the drain interrupts them.
const interruptGrace = Duration.seconds(1)

/** Works until the scope ends, and drains then. Returns when the broker has the consumer. */
export const start = <T, E, R>(
  options: WorkerOptions<T, E, R>
): Effect.Effect<Worker, AmqpError, AmqpConnection | Scope.Scope> => allOrNothing(begin(options))

/** What the consumer's policy loses, said once when it attaches. */
const sayWhatIsDropped = <E, T>(
  queue: string,
  { deadLetters, type }: QueueTraits,
  policy: Policy<E, T>
): Effect.Effect<void> => {
  if (policy === "drop" || type === "stream" || deadLetters === true) return Effect.void
  const refuses = policy === "deadLetter" || typeof policy === "function"
  if (deadLetters === undefined) {
    return refuses
      ? Effect.logWarning(
        "AMQP consumer refuses messages whose handler fails: they are dropped unless the queue has a dead letter exchange",
        { queue }
      )
      : Effect.void
  }
  return Effect.logWarning(
    refuses
      ? "AMQP consumer drops messages whose handler fails: its queue has no dead letter exchange"
      : "AMQP consumer drops messages whose handler dies: its queue has no dead letter exchange",
    { queue }
  )
}

const begin = Effect.fnUntraced(function*<T, E, R>(
  workerOptions: WorkerOptions<T, E, R>
): Effect.fn.Return<Worker, AmqpError, AmqpConnection | Scope.Scope> {
  const { lifecycle, options, portions, reading } = workerOptions
  const resolved = yield* resolveSource(workerOptions.queue, options, workerOptions.atOnce)
  const source = reading === undefined ? resolved : { ...resolved, arguments: reading.argumentsOn }
  const { keepOrder, noAck, traits } = source
  const timing = yield* resolveTiming(options, source)
  const onFailure = yield* resolvePolicy(options.onFailure, source)
  const handler = equip({ ...workerOptions, isScoped: lifecycle !== undefined }, timing.handlerTimeout)
  const context: Context.Context<Exclude<R, Scope.Scope>> = workerOptions.context
  const connection = yield* AmqpConnection
  const clock = yield* Clock.Clock
  const wakeLater = yield* WakeLater.make
  const queue = labelOf(source.queue)
  const delays = yield* DelayedRetry.make(source.queue, traits.type)
  const renewal = yield* Renewal.make(queue)
  if (typeof onFailure === "object") yield* delays.prepare(onFailure)

  /** Where messages are acknowledged now. */
  let on: { readonly acknowledgements: Acknowledgements; readonly session: Session } | undefined
  const flush = (): void => {
    on?.acknowledgements.flush()
    metrics.flush()
  }
  const pace = yield* Pace.make(flush, ackMillis)
  const count = (fate: Fate, messages: number): void => {
    if (fate === "ack") metrics.acked += messages
    else metrics.unhandled[fate] += messages
  }
  /** A quorum queue counts what is nacked only where its channel closes before the nack has got through. */
  const countsNoNack = (): boolean => on !== undefined && isRabbitMqSince(on.session.driver, 4, 3)
  /** The queue would dead-letter or drop the message if it came back once more. */
  const isAtLimit = (delivery: Delivery): boolean => {
    if (on === undefined || delivery.epoch !== on.session.epoch || (!keepOrder && countsNoNack())) return false
    const limit = deliveryLimitOn(on.session, traits)
    const deliveries = readableHeaders(delivery.properties)?.["x-delivery-count"]
    return limit !== undefined && typeof deliveries === "number" && deliveries >= limit
  }
  /** The channel closes next, and what is given back by then is held for that. */
  let isClosing = false
  const giveBack = (delivery: Delivery): void => {
    // At the end the close of the channel gives back in order; one by one, older messages would come behind newer ones.
    if (keepOrder && held !== undefined && !isAtLimit(delivery)) count("giveBack", 1)
    else if (isClosing && held !== undefined) held.push(delivery)
    else if (delivery.isSettled || delivery.isStale) {
      if (write(delivery, "giveBack")) count("giveBack", 1)
    } else if (isAtLimit(delivery)) renewal.renew(delivery, () => count("giveBack", 1))
    else if (write(delivery, "giveBack")) count("giveBack", 1)
  }
  /** The fate that the broker is told of. */
  const onWire = <F extends Fate>(fate: F): F | "ack" =>
    fate === "drop" && workerOptions.forgetsDropped === true ? "ack" : fate
  const settleOne = (delivery: Delivery, fate: Fate): void => {
    if (noAck) count(fate, 1)
    else if (fate === "giveBack") giveBack(delivery)
    else if (write(delivery, onWire(fate))) count(fate, 1)
  }

  const run = yield* FiberSet.runtime(yield* FiberSet.make<void>())<never>()
  let missingTarget: Effect.Effect<DeadLetterTarget | undefined> = Effect.undefined
  /** Asks beside the consumer's start if what is refused is kept. */
  const checkTarget = (session: Session, target: DeadLetterTarget): void => {
    const answer = Deferred.makeUnsafe<DeadLetterTarget | undefined>()
    missingTarget = Deferred.await(answer)
    run(
      Effect.flatMap(isMissing(session, target), (missing) => {
        if (!missing) return Effect.void
        Deferred.doneUnsafe(answer, Effect.succeed(target))
        return onFailure === "drop" ? Effect.void : Effect.logWarning(
          `AMQP consumer drops what it refuses: the dead letter ${target.kind} of its queue does not exist`,
          { queue, [target.kind === "queue" ? "deadLetterQueue" : "deadLetterExchange"]: target.name }
        )
      }).pipe(Effect.ensuring(Effect.sync(() => void Deferred.doneUnsafe(answer, Effect.undefined))))
    )
  }

  const judge = reading?.judge(handler) ?? FailurePolicy.make<T, E | HandlerTimeout>({
    queue,
    traits,
    // The policy is not asked about decisions.
    onFailure: onFailure as Policy<E, T>,
    keepOrder,
    delays,
    missingTarget: Effect.suspend(() => missingTarget),
    settle: settleOne
  })

  const ownAnnotations = Context.get(context, References.CurrentLogAnnotations)
  const hasOwnAnnotations = Object.keys(ownAnnotations).length > 0
  const contextOf = (content: T): Context.Context<Exclude<R, Scope.Scope>> => {
    const { deliveryTag, messageId } = portions.first(content)
    return Context.add(
      context,
      References.CurrentLogAnnotations,
      // A copy costs more than a message may.
      hasOwnAnnotations ? { ...ownAnnotations, queue, deliveryTag, messageId } : { queue, deliveryTag, messageId }
    )
  }

  /** The fate of each message of a batch, some of which failed. */
  const judgeEach = (
    content: T,
    outcomes: BatchOutcomes<E>
  ): Effect.Effect<PortionFate, never, Exclude<R, Scope.Scope>> =>
    Effect.as(
      Effect.forEach(portions.all(content), (delivery) => {
        const cause = outcomes.failed.get(delivery)
        if (delivery.isSettled) return Effect.void
        if (cause === undefined) return Effect.sync(() => settleOne(delivery, "ack"))
        const alone = portions.of(delivery)
        return judge({ content: alone, deliveries: [delivery], cause, isInterrupted: false }).pipe(
          Effect.map((fate) => fate === "each" ? undefined : settleOne(delivery, fate)),
          Effect.annotateLogs({ deliveryTag: delivery.deliveryTag, messageId: delivery.messageId })
        )
      }, { concurrency: "unbounded", discard: true }),
      "each"
    )

  const dispatcher: Dispatcher<T> = new Dispatcher<T>({
    concurrency: workerOptions.concurrency,
    keyOf: workerOptions.orderedBy,
    clock,
    wakeLater,
    handle: ({ content }) => Effect.runForkWith(contextOf(content))(handler(content)),
    isPartial,
    // The dispatcher passes on what it had from the handler, and does not look at it.
    resolve: ({ content, isInterrupted }, exit) =>
      Effect.runForkWith(contextOf(content))(
        exit._tag === "Success"
          ? judgeEach(content, exit.value as BatchOutcomes<E>)
          : judge({
            content,
            deliveries: portions.all(content),
            cause: exit.cause as Cause.Cause<E | HandlerTimeout>,
            isInterrupted
          })
      ),
    onSettled({ content, startedAt }, fate, now) {
      if (fate === "giveBack" || noAck) {
        for (const delivery of portions.all(content)) if (fate !== "each") settleOne(delivery, fate)
      } else if (fate !== "each") count(fate, portions.settle(content, onWire(fate)))
      if (startedAt !== undefined) {
        const hasFailed = fate !== "ack" && fate !== "each" && fate !== "giveBack"
        metrics.handled(now - startedAt, hasFailed)
      }
    },
    flush() {
      // The broker waits for these, and for no metric.
      if (on?.acknowledgements.isPressing === true) on.acknowledgements.flush()
      pace()
    }
  })
  const metrics: ConsumerMetrics = new ConsumerMetrics(queue, context, () => dispatcher.running)
  const intake = yield* portions.intake((content, arrivedAt) => dispatcher.offer(content, arrivedAt))

  const messagesOf = (unsettled: Iterable<Portion<T>>): number => {
    let messages = 0
    for (const { content } of unsettled) messages += portions.all(content).length
    return messages
  }
  /** Deliveries that no handler is to begin with; `undefined` while handlers begin with what comes. */
  let held: Array<Delivery> | undefined
  /** Begins nothing more, and holds what has not begun and what still comes. */
  const hold = (): void => {
    held ??= []
    for (const { content } of dispatcher.forget()) held.push(...portions.all(content))
    held.push(...intake.forget())
    lifecycle?.onHeld()
  }
  const giveBackHeld: Effect.Effect<void> = Effect.suspend(() => {
    if (held === undefined) return Effect.void
    if (countsNoNack()) {
      if (dispatcher.running > 0) return slowly(held, giveBack)
      count("giveBack", together(held.splice(0)))
    } else held.splice(0).forEach(giveBack)
    return Effect.void
  })
  const handlers = (): ReadonlyArray<Fiber.Fiber<unknown, unknown>> =>
    Array.from(dispatcher.unsettled()).flatMap(({ fiber }) => fiber === undefined ? [] : [fiber])
  const idle = Effect.callback<void>((resume) => dispatcher.whenIdle(() => resume(Effect.void)))
  const interruptHandlers = Effect.suspend(() => {
    // A copy, because an interrupted handler may leave at once.
    Array.from(dispatcher.unsettled()).forEach((portion) => dispatcher.interrupt(portion))
    return Effect.timeoutOption(idle, interruptGrace)
  })

  // Handlers may begin while the consumer is still being attached, and must not outlive it if that fails.
  yield* Effect.addFinalizer(() => {
    hold()
    return interruptHandlers
  })

  if (Duration.isFinite(timing.ackTimeout) && !noAck) {
    yield* Effect.forkScoped(guard({
      dispatcher,
      ackTimeout: timing.ackTimeout,
      whenAckTimeout: timing.whenAckTimeout,
      takesBack: traits.type !== "stream",
      // What the broker takes back counts as failed, also where no handler failed.
      onNear() {
        for (const { content } of dispatcher.unsettled()) {
          for (const delivery of portions.all(content)) {
            if (!delivery.isSettled && !delivery.isStale && isAtLimit(delivery)) {
              renewal.renew(delivery, () => count("giveBack", 1))
            }
          }
        }
      },
      contextOf
    }))
  }

  const attachment = yield* attach(connection, source, {
    onOpened(acknowledgements, session) {
      on?.acknowledgements.flush()
      on = { acknowledgements, session }
      if (traits.deadLetterTarget !== undefined) checkTarget(session, traits.deadLetterTarget)
    },
    onDelivery(delivery) {
      metrics.delivered++
      if (held === undefined) intake.offer(delivery)
      else held.push(delivery)
    },
    onDetached() {
      on?.acknowledgements.flush()
      // What the broker has sent with noAck it does not send again.
      if (noAck) return
      held?.splice(0)
      intake.forget()
      dispatcher.forget()
      if (lifecycle === undefined) return
      const running = Array.from(dispatcher.unsettled())
      lifecycle.onDetached(handlers())
      wakeLater(() => running.forEach((portion) => dispatcher.interrupt(portion)))
    },
    onStale(wasPromised) {
      metrics.stale++
      if (wasPromised) metrics.acked--
    }
  })
  yield* sayWhatIsDropped(queue, traits, onFailure)

  yield* attachment.ended.pipe(
    Effect.catch((error) => Effect.logError("AMQP consumer ended", { queue, reason: error.message })),
    Effect.forkScoped
  )

  // After the channel's, so that it runs before: the channel is closed when the acknowledgements are written.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      // With noAck what waits would be lost, and is handled as well.
      if (!noAck) hold()
      const begun = messagesOf(dispatcher.unsettled())
      yield* attachment.stop
      const released = held?.length ?? 0
      yield* Effect.timeoutOption(
        keepOrder ? idle : Effect.raceFirst(idle, Effect.andThen(giveBackHeld, Effect.never)),
        timing.drainTimeout
      )
      hold()
      const unfinished = messagesOf(dispatcher.unsettled())
      isClosing = !keepOrder && countsNoNack()
      if (unfinished > 0) yield* interruptHandlers
      if (lifecycle !== undefined) yield* lifecycle.beforeRelease
      isClosing = false
      const rest = held?.splice(0) ?? []
      if (noAck) rest.forEach((delivery) => settleOne(delivery, "drop"))
      else if (keepOrder) {
        // Without a cancel the broker sends what is nacked once more: the close of the channel gives the rest back.
        const last = rest.filter(isAtLimit)
        count("giveBack", rest.length - last.length)
        last.forEach(giveBack)
      } else if (countsNoNack()) count("giveBack", together(rest))
      else rest.forEach(giveBack)
      yield* renewal.settled
      flush()
      if (begun + released > 0) {
        yield* Effect.logInfo("AMQP consumer drained", {
          queue,
          finished: begun - unfinished,
          released: released + unfinished
        })
      }
    })
  )

  return {
    health: attachment.health,
    ended: attachment.ended,
    counts: () => metrics.counts(),
    handlers,
    pause: Effect.suspend(() => {
      // With noAck what has come would be lost, and is handled as well.
      if (noAck) return attachment.pause
      hold()
      if (!keepOrder) {
        flush()
        return Effect.andThen(attachment.pause, giveBackHeld)
      }
      return idle.pipe(
        Effect.andThen(Effect.sync(flush)),
        Effect.andThen(attachment.pause),
        Effect.andThen(Effect.sync(() => void held?.splice(0)))
      )
    }),
    resume: Effect.suspend(() => {
      held = undefined
      return attachment.resume
    })
  }
})
