/**
 * Retrys with a delay, compiled from a Schedule to plain RabbitMQ: one wait queue for each distinct delay, whose
 * messages expire and are dead-lettered back to where they came from, and a parking queue for those that had enough.
 *
 * A delay belongs to the queue and not to the message, because a message expires only at the head of a queue.
 *
 * @see https://www.rabbitmq.com/docs/ttl#queue-ttl
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Delivery } from "../../AmqpDelivery.ts"
import { AmqpError, InvalidConfiguration } from "../../AmqpError.ts"
import type { Headers, HeaderValue, Message } from "../../AmqpMessage.ts"
import * as AmqpPublisher from "../../AmqpPublisher.ts"
import type { Queue, Topology } from "../../AmqpTopology.ts"
import * as AmqpTopology from "../../AmqpTopology.ts"
import type { PublishError } from "../../PublishError.ts"
import type { QueueLike } from "../connection/queueName.ts"
import { labelOf } from "../connection/queueName.ts"
import { AmqpConnection } from "../connection/service.ts"
import * as Attempts from "../delivery/retryHeaders.ts"
import * as ScheduleDelays from "../scheduleDelays.ts"
import { problemOf } from "../topology/problems.ts"
import { readableHeaders } from "../wire/properties.ts"
import type { Unhandled } from "./fate.ts"
import type { Retry } from "./options.ts"
import { parkedHeaders } from "./parkedHeaders.ts"
import * as RetryQueues from "./retryQueues.ts"
import type { QueueType } from "./traits.ts"
import { typeOf } from "./traits.ts"

/** The fate of a message that is not tried again at once. */
export type Delayed = Extract<Unhandled, "retry" | "park">

/** Delays the messages of one queue. */
export interface Delays {
  /** Declares the queues of a policy; done by `delay` if it was not before. */
  readonly prepare: (policy: Retry) => Effect.Effect<void, AmqpError>
  /**
   * Publishes a copy of a message to where it waits, or to where it is parked, with what its handler failed with; none
   * if that would multiply it.
   */
  readonly delay: (
    delivery: Delivery,
    policy: Retry,
    error: unknown
  ) => Effect.Effect<Delayed | undefined, AmqpError | PublishError>
}

/** A schedule as queues. */
interface Compiled {
  readonly queues: ReadonlyArray<Queue>
  readonly parking: string
  /** Where a message goes, and what becomes of it there. */
  readonly next: (delivery: Delivery) => { readonly to: string; readonly fate: Delayed }
}

// Each distinct delay is a queue on the broker: a schedule that goes on for ever must not make them without an end.
const maxDelays = 100
const maxTtl = 4294967295

// Without chance, a schedule with jitter names the same queues each time.
const noChance: Random.Random = { nextIntUnsafe: () => 0, nextDoubleUnsafe: () => 0.5 }

const invalid = (detail: string): AmqpError =>
  new AmqpError({ operation: "configure", reason: new InvalidConfiguration({ option: "onFailure", detail }) })

/** The delays of a schedule, in milliseconds. */
export const delaysOf = (schedule: Schedule.Schedule<unknown>): Effect.Effect<ReadonlyArray<number>, AmqpError> =>
  Effect.gen(function*() {
    const next = yield* ScheduleDelays.start(schedule)
    const delays: Array<number> = []
    let now = 0
    for (;;) {
      const duration = yield* next(now, undefined)
      if (duration === undefined) return delays
      const delay = Math.round(Duration.toMillis(duration))
      if (delays.length === maxDelays) {
        return yield* invalid(`its schedule goes on after ${maxDelays} retries; bound it with Schedule.upTo`)
      }
      if (!(delay >= 0 && delay <= maxTtl)) {
        return yield* invalid(`its schedule has a delay of ${delay} ms; RabbitMQ allows 0 to ${maxTtl} (49.7 days)`)
      }
      delays.push(delay)
      now += delay
    }
  }).pipe(Effect.provideService(Random.Random, noChance))

// What the broker writes itself, and would read as if it had happened to the copy.
const brokersOwn = /^x-(death|delivery-count|acquired-count|stream-offset|(first|last)-death-.*)$/

// The broker would route the copy by it, to other queues as well.
const isRoute = (header: string): boolean => header === "CC" || header === "BCC"

// A time that no Date can hold is nobody's, and would keep the copy from being published.
const dateOf = (seconds: number | undefined): Date | undefined => {
  const date = seconds === undefined ? undefined : new Date(seconds * 1000)
  return date === undefined || Number.isNaN(date.getTime()) ? undefined : date
}

/** True while neither its handler has settled it nor the broker has put it back. */
const isOut = (delivery: Delivery): boolean => !delivery.isSettled && !delivery.isStale

const isLeftOut = (header: string): boolean => brokersOwn.test(header) || isRoute(header)

/** The headers of a copy: byte by byte what was received, where it was received as bytes. */
const headersOf = ({ properties }: Delivery, added: Headers): Pick<Message, "headers" | "receivedHeaders"> => {
  if (properties.rawHeaders !== undefined) {
    return { headers: added, receivedHeaders: { entries: properties.rawHeaders, leavesOut: isLeftOut } }
  }
  const headers: Record<string, HeaderValue | undefined> = {}
  for (const [name, value] of Object.entries(properties.headers ?? {})) if (!isLeftOut(name)) headers[name] = value
  return { headers: { ...headers, ...added } }
}

/** Copies a message to a queue through the default exchange, as an attempt that `queue` counts. */
export const copyTo = (routingKey: string, delivery: Delivery, queue: string): Message => {
  const properties = delivery.properties
  return {
    routingKey,
    body: delivery.body,
    contentType: properties.contentType,
    contentEncoding: properties.contentEncoding,
    persistent: properties.deliveryMode === 2,
    priority: properties.priority,
    correlationId: properties.correlationId,
    replyTo: properties.replyTo,
    messageId: properties.messageId,
    timestamp: dateOf(properties.timestamp),
    type: properties.type,
    appId: properties.appId,
    ...headersOf(delivery, {
      [Attempts.attemptHeader]: Attempts.delays(readableHeaders(properties), queue) + 2,
      [Attempts.queueHeader]: queue,
      [Attempts.exchangeHeader]: delivery.exchange,
      [Attempts.routingKeyHeader]: delivery.routingKey,
      // RabbitMQ refuses the user id of another than the publishing user.
      [Attempts.userIdHeader]: properties.userId
    })
  }
}

const compile = Effect.fnUntraced(function*(
  queue: QueueLike,
  policy: Retry,
  type: QueueType
): Effect.fn.Return<Compiled, AmqpError> {
  if (typeof queue !== "string" && queue._tag === "ServerNamedQueue") {
    return yield* invalid("a server-named queue is gone with its session, and a delayed message could not come back")
  }
  const name = labelOf(queue)
  const delays = yield* delaysOf(policy.schedule)
  const { parking, wait, waitQueueOf } = RetryQueues.make(queue, delays, policy, type)
  return {
    queues: [...wait, parking],
    parking: parking.name,
    next(delivery) {
      const delay = delays[Attempts.delays(readableHeaders(delivery.properties), name)]
      return delay === undefined
        ? { to: parking.name, fate: "park" }
        : { to: waitQueueOf(delay), fate: "retry" }
    }
  }
})

/** A stream by name on RabbitMQ before 4.0, whose wait queues were made for a queue of another type. */
const lostOnTheWay = (queue: string): AmqpError =>
  invalid(
    `"${queue}" is a stream, to which RabbitMQ before 4.0 dead-letters nothing from a classic queue; give the stream as a ` +
      "value with its type"
  )

/** Makes the topology of a retry; throws an `AmqpError` if the queue or the schedule cannot have one. */
export const topologyOf = (queue: QueueLike, policy: Retry): Topology => {
  const exit = Effect.runSyncExit(compile(queue, policy, typeOf(queue)))
  if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
  return AmqpTopology.make(...exit.value.queues)
}

/** Delay messages of a queue until the scope ends; a publisher is opened for it when it is first needed. */
export const make = Effect.fnUntraced(function*(
  queue: QueueLike,
  type: QueueType
): Effect.fn.Return<Delays, never, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const name = labelOf(queue)
  // Its place among the finalizers is here, whenever it is filled: handlers that still run at the end may need it.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const oneAtATime = Semaphore.makeUnsafe(1)
  let known = new WeakMap<Schedule.Schedule<unknown>, Compiled>()
  const declared = new Set<string>()
  let declarations = yield* Scope.fork(scope)
  let publisher: AmqpPublisher.AmqpPublisher | undefined

  const compiledOf = (policy: Retry): Effect.Effect<Compiled, AmqpError> =>
    oneAtATime.withPermit(Effect.gen(function*() {
      const before = known.get(policy.schedule)
      if (before !== undefined) return before
      const compiled = yield* compile(queue, policy, type)
      // A policy that makes its schedule anew for each failure names the same queues each time.
      const queues = compiled.queues.filter(({ name }) => !declared.has(name))
      if (queues.length > 0) {
        const problem = problemOf(AmqpTopology.make(...queues))
        if (problem !== undefined) return yield* invalid(problem)
        yield* Scope.provide(
          connection.register(undefined, (session) => RetryQueues.provideOn(session, queues, compiled.parking, type)),
          declarations
        )
      }
      for (const { name } of queues) declared.add(name)
      publisher ??= yield* Scope.provide(
        AmqpPublisher.make({ maxMessageBytes: Number.MAX_SAFE_INTEGER, purpose: "retry" }),
        scope
      )
      known.set(policy.schedule, compiled)
      return compiled
    })).pipe(Effect.provideService(AmqpConnection, connection))

  /** One of the queues is gone: the next message declares them again. */
  const forget = ({ schedule }: Retry, compiled: Compiled): Effect.Effect<void> =>
    oneAtATime.withPermit(Effect.suspend(() => {
      // Of many messages that found it gone, the first has done it.
      if (known.get(schedule) !== compiled) return Effect.void
      const before = declarations
      known = new WeakMap()
      declared.clear()
      return Effect.andThen(
        Effect.map(Scope.fork(scope), (fresh) => declarations = fresh),
        Scope.close(before, Exit.void)
      )
    }))

  return {
    prepare: (policy) => Effect.asVoid(compiledOf(policy)),
    delay: (delivery, policy, error) =>
      Effect.suspend(() => {
        const compiled = known.get(policy.schedule)
        return compiled === undefined && isOut(delivery) ? compiledOf(policy) : Effect.succeed(compiled)
      }).pipe(
        Effect.flatMap((compiled): Effect.Effect<Delayed | undefined, AmqpError | PublishError> => {
          // Asked again, because the declaration of the queues may have waited for the next session.
          if (compiled === undefined || !isOut(delivery)) return Effect.undefined
          if (type === "unknown" && delivery.isAcknowledgedOnly) return Effect.fail(lostOnTheWay(name))
          const { fate, to } = compiled.next(delivery)
          return Effect.flatMap(Clock.currentTimeMillis, (now) => {
            const copy = copyTo(to, delivery, name)
            const message = fate === "retry" ? copy : {
              ...copy,
              headers: {
                ...copy.headers,
                ...parkedHeaders(error, delivery, new Date(now), delivery.origin?.connectionName)
              }
            }
            return publisher!.publish(message).pipe(
              Effect.tapError(({ reason }) => reason._tag === "Unroutable" ? forget(policy, compiled) : Effect.void),
              Effect.as(fate)
            )
          })
        })
      )
  }
})
