/**
 * Moves the messages of a queue to another place in bulk: what was parked or dead-lettered goes back to where it is
 * handled, once the cause is mended.
 *
 * @since 0.2.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { AmqpConnection } from "./AmqpConnection.ts"
import type { Delivery } from "./AmqpDelivery.ts"
import type { AmqpError } from "./AmqpError.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import * as AmqpPublisher from "./AmqpPublisher.ts"
import { count, invalid } from "./internal/checkOptions.ts"
import { typeOn } from "./internal/connection/queueTypes.ts"
import { resolveSource } from "./internal/consumer/options.ts"
import * as DeliveryStream from "./internal/consumer/stream.ts"
import { queueHeader } from "./internal/delivery/retryHeaders.ts"
import type { Named } from "./internal/named.ts"
import { nameOf, queueTypeOf } from "./internal/named.ts"
import * as WakeLater from "./internal/wakeLater.ts"
import type { PublishError } from "./PublishError.ts"

/**
 * How to move messages; all of it optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options {
  /**
   * A queue, or what is to differ from a message as it came (see `AmqpMessage.forward`), its exchange and routing key
   * among it. Defaults to the queue whose retry parked the message, or that dead-lettered it first; a message that names
   * none is kept.
   */
  readonly to?: Named<"Queue"> | ((delivery: Delivery) => AmqpMessage.ForwardOptions) | undefined
  /** Keeps messages for which it is `false` in their queue. Defaults to all messages. */
  readonly where?: ((delivery: Delivery) => boolean) | undefined
  /** Messages that are moved at most. Defaults to those that are in the queue at the start. */
  readonly max?: number | undefined
  /** Messages that are on their way at the same time, from 1 to 65535. Defaults to 500. */
  readonly inFlight?: number | undefined
}

/**
 * How many messages were moved, and how many were looked at and kept.
 *
 * @category models
 * @since 0.2.0
 */
export interface Redriven {
  readonly moved: number
  readonly kept: number
}

const maxPrefetch = 65535

// When nothing has come for so long, the queue is asked whether it has more.
const idle = "1 second"
// Another consumer may have the queue for itself.
const maxIdleRounds = 10

const originOf = ({ headers }: Delivery): string | undefined => {
  const queue = headers[queueHeader] ?? headers["x-first-death-queue"]
  return typeof queue === "string" ? queue : undefined
}

const ready = (connection: AmqpConnection, queue: string): Effect.Effect<number, AmqpError> => {
  const operation = `checkQueue ${queue}`
  return Effect.map(
    connection.withSession(
      "consume",
      operation,
      (session) => session.withChannel(operation, (channel) => channel.checkQueue(queue))
    ),
    ({ messageCount }) => messageCount
  )
}

/**
 * Moves messages of a queue, as they came and in their order, with their attempts counted anew. Each is acknowledged when
 * its copy is confirmed: what fails between the two is there twice, and nothing is lost. At most what is in the queue at
 * the start is moved, so that messages which come back at once are not moved again and again. Ends when that was looked
 * at, when the queue is empty, or when nothing has come of a queue for ten seconds that another consumer may have.
 *
 * What is kept is held until the end, at most 65,535 messages, and goes back then. Before RabbitMQ 4.3 a queue with a
 * delivery limit counts that as a delivery, and a quorum queue without one puts it behind what has come meanwhile. With
 * `to` and without `where`, no more is taken than is moved, so that the rest keeps its place.
 *
 * Over loopback it moves quorum queues 27 to 45 times as fast as `get`, publish and acknowledge one by one, classic queues
 * 13 to 17 times (medians of nine pairs each on RabbitMQ 3.10, 4.0 and 4.3), and more the farther away the broker is.
 *
 * Fails with `AmqpError` when the queue cannot be read, and with the first `PublishError`, for which the rest is kept.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpRedrive } from "effect-amqp"
 *
 * const program = Effect.gen(function*() {
 *   const { moved } = yield* AmqpRedrive.redrive("invoices.parked", {
 *     where: (delivery) => delivery.headers["x-parked-error"] === "DatabaseDown"
 *   })
 *   yield* Effect.log(`moved ${moved} back`)
 * })
 * ```
 * @category redriving
 * @since 0.2.0
 */
export const redrive = Effect.fnUntraced(function*(
  from: Named<"Queue">,
  options: Options = {}
): Effect.fn.Return<Redriven, AmqpError | PublishError, AmqpConnection> {
  const connection = yield* AmqpConnection
  const queue = nameOf(from)
  const type = queueTypeOf(from) ??
    (yield* connection.withSession("consume", "redrive", (session) => typeOn(session, `redrive ${queue}`, queue)))
  if (type === "stream") {
    return yield* invalid("from", `"${queue}" is a stream, which keeps what is moved; read it with AmqpConsumer`)
  }
  const { to, where } = options
  const inFlight = yield* count("inFlight", options.inFlight ?? 500, maxPrefetch)
  const max = options.max === undefined ? undefined : yield* count("max", options.max, Number.MAX_SAFE_INTEGER)
  const present = yield* ready(connection, queue)
  let moved = 0
  let kept = 0
  if (present === 0) return { moved, kept }

  const copyOf = (delivery: Delivery): AmqpMessage.Message | undefined => {
    if (where?.(delivery) === false) return undefined
    const target = typeof to === "function"
      ? to(delivery)
      : { routingKey: to === undefined ? originOf(delivery) : nameOf(to) }
    // Without a target it would go to wherever it was first published, and not only to the queue that gave it up.
    if (typeof to !== "function" && target.routingKey === undefined) return undefined
    return AmqpMessage.forward(delivery, { attempts: "reset", ...target })
  }

  const mayKeep = where !== undefined || to === undefined
  const target = Math.min(present, max ?? present)
  // What is kept stays out, and must not keep the rest from coming.
  const prefetch = mayKeep ? Math.min(present, maxPrefetch) : Math.min(target, inFlight)
  yield* Effect.scoped(Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.make({ maxMessageBytes: Number.MAX_SAFE_INTEGER })
    const deliveries = yield* Queue.unbounded<Delivery, AmqpError | Cause.Done>()
    // The consumer outlives the last pull: copies that are on their way by then are acknowledged on its channel.
    const source = yield* DeliveryStream.make(connection, yield* resolveSource(queue, { prefetch }, 1))
    const wakeLater = yield* WakeLater.make
    yield* Effect.forkScoped(Stream.runIntoQueue(source.stream, deliveries))

    /** Copies of these are confirmed, and their acknowledgement would bring messages that are not to be moved. */
    const withheld: Array<Delivery> = []
    let lastKept: Delivery | undefined
    let isFlushing = false
    const flush = () => {
      isFlushing = false
      source.flush()
    }
    const acknowledge = (delivery: Delivery): void => {
      if (!delivery.ackSoonUnsafe()) return
      moved++
      if (isFlushing) return
      isFlushing = true
      wakeLater(flush)
    }
    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        // A quorum queue hears of many single acknowledgements one after the other, and of those that are left when the
        // channel closes never: it answers the cancel after them.
        flush()
        yield* source.stop
        for (const delivery of withheld) acknowledge(delivery)
        flush()
        // RabbitMQ 4.3 counts no delivery for what is given back, and one for what goes back with its channel.
        yield* lastKept?.nack({ requeue: true, multiple: true }) ?? Effect.void
      })
    )
    let rounds = 0
    const pull: Effect.Effect<NonEmptyReadonlyArray<Delivery>, AmqpError | Cause.Done> = Effect.timeoutOrElse(
      Effect.tap(Queue.takeAll(deliveries), () =>
        Effect.sync(() => {
          rounds = 0
        })),
      {
        duration: idle,
        orElse: () =>
          Effect.flatMap(
            ready(connection, queue),
            (left) => left > 0 && ++rounds < maxIdleRounds ? pull : Cause.done()
          )
      }
    )
    yield* Stream.fromPull(Effect.succeed(pull)).pipe(
      Stream.take(mayKeep ? present : target),
      Stream.filterMap((delivery) => {
        // It went back with its channel while it waited here, and comes again.
        if (delivery.isStale) return Result.failVoid
        const message = copyOf(delivery)
        if (message !== undefined) return Result.succeed({ delivery, message })
        kept++
        lastKept = delivery
        return Result.failVoid
      }),
      Stream.take(target),
      Stream.mapEffect(
        ({ delivery, message }) =>
          Effect.andThen(
            publisher.publish(message),
            Effect.sync(() => {
              if (mayKeep || moved + prefetch < target) acknowledge(delivery)
              else withheld.push(delivery)
            })
          ),
        { concurrency: inFlight }
      ),
      Stream.runDrain
    )
  }))
  return { moved, kept }
})
