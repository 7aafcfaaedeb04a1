/**
 * The redriving program: a worker parks what it cannot handle while its database is away, and an operator moves it back
 * in bulk when the database is there again.
 */
import { Console, Data, Effect, Exit, Layer, Queue, Schedule, Scope, Stream } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpRedrive, AmqpTopology } from "effect-amqp"
import type { AmqpDelivery } from "effect-amqp"

const queue = AmqpTopology.queue("my_redriven_queue", { type: "quorum" })
const retryMillis = 200
const policy = AmqpConsumer.retry(Schedule.spaced(retryMillis).pipe(Schedule.upTo({ times: 1 })))
const topology = AmqpTopology.make(queue, AmqpConsumer.retryTopology(queue, policy.schedule))
const parked = `${queue.name}.parked`

/** The database of the worker does not answer. */
class DatabaseDown extends Data.TaggedError("DatabaseDown") {
  override get message(): string {
    return "the database does not answer"
  }
}

/** The number of messages, and how many were parked and handled. */
export interface Outcome {
  readonly parked: number
  readonly moved: number
  readonly handled: number
}

// Empties the queues before and after the run: a run that was killed leaves its messages.
const removeAll = Effect.flatMap(
  AmqpChannel.AmqpChannel,
  (channel) => Effect.forEach(topology.queues, (queue) => channel.deleteQueue(queue), { discard: true })
)

/** Works until the scope ends, and reports each handled message. */
const worker = Effect.fnUntraced(function*(
  isDatabaseDown: () => boolean,
  handled: Queue.Enqueue<AmqpDelivery.Delivery>
) {
  yield* AmqpConsumer.make(
    queue,
    (delivery) => isDatabaseDown() ? Effect.fail(new DatabaseDown()) : Queue.offer(handled, delivery),
    { concurrency: 10, onFailure: policy }
  )
})

const allAreParked = (count: number) =>
  Effect.flatMap(AmqpChannel.AmqpChannel, (channel) =>
    Effect.repeat(channel.checkQueue(parked), {
      until: ({ messageCount }) => messageCount === count,
      schedule: Schedule.spaced("50 millis")
    })).pipe(Effect.timeout("30 seconds"))

/** Publishes messages that are parked, moves them back, and waits until each was handled. */
export const run = Effect.fnUntraced(function*(count: number) {
  yield* removeAll
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(removeAll, "2 seconds")))
  yield* AmqpTopology.declare(topology)
  const working = yield* Scope.fork(yield* Effect.scope)
  const handled = yield* Queue.unbounded<AmqpDelivery.Delivery>()
  let isDatabaseDown = true
  yield* Scope.provide(worker(() => isDatabaseDown, handled), working)

  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publishAll(
    Array.from({ length: count }, (_, n) => ({ routingKey: queue.name, body: `Hello World! - ${n}` }))
  )
  yield* Console.log(`published ${count} to ${queue.name}, whose worker has no database`)
  yield* allAreParked(count)
  yield* Console.log(`parked ${count} in ${parked}, after a second attempt each`)

  isDatabaseDown = false
  const { moved } = yield* AmqpRedrive.redrive(parked, {
    where: ({ headers }) => headers["x-parked-error"] === "DatabaseDown"
  })
  yield* Console.log(`moved ${moved} back: the database is there again`)
  const deliveries = yield* Stream.fromQueue(handled).pipe(
    Stream.take(moved),
    Stream.runCollect,
    Effect.timeout("30 seconds")
  )
  // The worker acknowledges its messages before the queues are removed.
  yield* Scope.close(working, Exit.void)
  const ids = new Set(deliveries.map(({ messageId }) => messageId))
  return { parked: count, moved, handled: ids.size } satisfies Outcome
}, Effect.scoped)

/** The connection, the topology and the publisher of the program. */
export const layer = (endpoints: AmqpConnection.Options["endpoints"]) =>
  Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpConnection.layer({ endpoints, connectionName: "effect-amqp-redrive" }))
  )
