/**
 * A reader of a stream: a worker that begins, at each attach, where its group has come to.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { Arguments } from "../../AmqpDriver.ts"
import { AmqpError, OperationTimeout } from "../../AmqpError.ts"
import * as AmqpPublisher from "../../AmqpPublisher.ts"
import type { OffsetStoreError } from "../../OffsetStore.ts"
import { OffsetStore } from "../../OffsetStore.ts"
import { AmqpConnection } from "../connection/service.ts"
import type { Session } from "../connection/session.ts"
import type { HandlerDecision } from "../consumer/decision.ts"
import { atOnce } from "../consumer/options.ts"
import type { PortionKind } from "../consumer/portions.ts"
import { singly } from "../consumer/portions.ts"
import type { HandlerContext, Worker } from "../consumer/worker.ts"
import * as ConsumerWorker from "../consumer/worker.ts"
import * as Monotonic from "../monotonic.ts"
import { readableHeaders } from "../wire/properties.ts"
import * as Judgement from "./judgement.ts"
import * as LastChunk from "./lastChunk.ts"
import type { Missed } from "./missed.ts"
import * as MissedMessages from "./missed.ts"
import { notAStream, offsetOf } from "./offset.ts"
import type { Options, Resolved, Source } from "./options.ts"
import { resolve } from "./options.ts"
import { Progress } from "./progress.ts"
import * as Saving from "./saving.ts"

/** A reader at work. */
export interface Reader extends Worker {
  readonly offset: () => number | undefined
}

// A replica that lags behind, and a stream that comes back after a crash, are there within this; a stream that was made
// again is not. Less than a setup may be refused for.
const lagMillis = (session: Session): number => Math.min(15_000, 2 * Duration.toMillis(session.heartbeat))

/** Finds where a group begins that has no offset; `undefined` where the broker can be told so at each attach. */
const beginning = Effect.fnUntraced(function*(
  connection: AmqpConnection,
  { from, stream }: Resolved
): Effect.fn.Return<number | undefined, AmqpError> {
  if (typeof from === "number") return from
  if (from !== "next" && from !== "last") return undefined
  let tail: LastChunk.Tail | undefined
  yield* Effect.scoped(
    connection.register("consume", (session) =>
      Effect.map(LastChunk.read(session, stream.name), (found) => {
        tail = found
      }))
  )
  return tail === undefined ? 0 : from === "next" ? tail.end : tail.first
})

/**
 * Says where to attach. A stream that ends before the offset of its group is another one, made under the same name: its
 * messages would be passed over until it has grown to that offset.
 */
const attachAt = (
  progress: Progress,
  missed: Missed,
  clock: Clock.Clock,
  loaded: number | undefined,
  { filter, from, group, stream }: Resolved
) => {
  let behindSince: number | undefined
  return Effect.fnUntraced(function*(session: Session): Effect.fn.Return<Arguments, AmqpError> {
    progress.detach()
    const { next } = progress
    const end = (yield* LastChunk.read(session, stream.name))?.end ?? 0
    // The program's own offset means that message, or the next one there is.
    missed.attach(session, loaded === undefined && next === from ? undefined : next)
    if (next === undefined) return { ...filter, "x-stream-offset": from as "first" | Date }
    if (end >= next) {
      behindSince = undefined
      return { ...filter, "x-stream-offset": next }
    }
    const now = Monotonic.millis(clock)
    behindSince ??= now
    if (now - behindSince < lagMillis(session)) {
      return yield* new AmqpError({
        operation: `find offset ${next} of ${stream.name}, which ends at ${end}`,
        reason: new OperationTimeout({ millis: now - behindSince })
      })
    }
    yield* Effect.logError(
      "AMQP stream ends before the offset of its group, so it was made again: reading it from its first message",
      { stream: stream.name, group, offset: next, end }
    )
    behindSince = undefined
    progress.restart(0)
    missed.attach(session, 0)
    return { ...filter, "x-stream-offset": 0 }
  })
}

/** Reads until the scope ends, and drains and saves then. */
export const start = Effect.fnUntraced(function*<E, R>(
  source: Source,
  handler: (delivery: Delivery) => Effect.Effect<unknown, E, R>,
  options: Options<Exclude<E, HandlerDecision>>,
  context: HandlerContext<R>
): Effect.fn.Return<Reader, AmqpError | OffsetStoreError, AmqpConnection | OffsetStore | Scope.Scope> {
  const resolved = yield* resolve(source, options as Options<never>)
  const { isWanted, stream } = resolved
  const concurrency = yield* atOnce("concurrency", options.concurrency ?? 1)
  const connection = yield* AmqpConnection
  const store = yield* OffsetStore
  const loaded = yield* Saving.load(store, resolved)
  const progress = new Progress(loaded ?? (yield* beginning(connection, resolved)))
  const save = Saving.make(store, resolved, loaded, () => progress.next)
  // A group that begins at the end of the stream must begin there also if it crashes before it has handled anything.
  yield* save
  yield* Saving.keepSaving(save, resolved)

  const deadLetters: Judgement.DeadLetters | undefined = options.deadLetterTo === undefined ? undefined : {
    publisher: yield* AmqpPublisher.make({ maxMessageBytes: Number.MAX_SAFE_INTEGER, purpose: "retry" }),
    to: options.deadLetterTo
  }
  const missed = yield* MissedMessages.watch({
    stream: stream.name,
    group: resolved.group,
    filters: isWanted !== undefined
  })
  const stopping = Latch.makeUnsafe(false)
  const isOther = Deferred.makeUnsafe<never, AmqpError>()

  const portions: PortionKind<Delivery> = {
    ...singly,
    settle(delivery, fate) {
      progress.finish(offsetOf(delivery.properties)!)
      return singly.settle(delivery, fate)
    },
    intake: (offer) =>
      Effect.succeed({
        offer(delivery) {
          const offset = offsetOf(delivery.properties)
          if (offset === undefined) {
            // It is not acknowledged: it goes back to its queue when the reader ends.
            Deferred.doneUnsafe(isOther, Effect.fail(notAStream(stream.name)))
            return
          }
          missed.arrive(offset)
          if (!progress.arrive(offset)) delivery.ackUnsafe(false)
          else if (isWanted?.(readableHeaders(delivery.properties)?.["x-stream-filter-value"]) === false) {
            progress.finish(offset)
            delivery.ackUnsafe(false)
          } else offer(delivery)
        },
        forget: () => []
      })
  }

  const worker = yield* ConsumerWorker.start<Delivery, E, R>({
    queue: stream,
    handler(delivery) {
      progress.begin(offsetOf(delivery.properties)!)
      return handler(delivery)
    },
    options: {
      ackTimeout: options.ackTimeout,
      consumerTag: options.consumerTag,
      drainTimeout: options.drainTimeout,
      handlerTimeout: options.handlerTimeout,
      missingQueueTimeout: options.missingQueueTimeout,
      prefetch: options.prefetch,
      tracing: options.tracing
    },
    portions,
    atOnce: concurrency,
    concurrency,
    orderedBy: options.orderedBy,
    context,
    reading: {
      argumentsOn: attachAt(progress, missed, yield* Clock.Clock, loaded, resolved),
      judge: Judgement.make<E>({ stream: stream.name, onFailure: options.onFailure as never, deadLetters, stopping })
    }
  })
  yield* Deferred.await(isOther).pipe(
    Effect.catch((error) =>
      Effect.andThen(
        Effect.logError("AMQP stream reader ended", { queue: stream.name, reason: error.message }),
        worker.pause
      )
    ),
    Effect.forkScoped
  )
  // Before the worker's own end: what only waits to be tried again is not waited for.
  yield* Effect.addFinalizer(() => Effect.sync(() => stopping.openUnsafe()))

  return {
    ...worker,
    ended: Effect.raceFirst(worker.ended, Deferred.await(isOther)),
    offset: () => progress.next
  }
})
