/**
 * An instance of a group: it consumes from the queues of all partitions, and ranks itself for each of them.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { GroupHealth } from "../../AmqpConnection.ts"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { allOrNothing } from "../allOrNothing.ts"
import { isRabbitMqSince } from "../connection/brokerVersion.ts"
import { AmqpConnection } from "../connection/service.ts"
import type { HandlerDecision } from "../consumer/decision.ts"
import { GivenUp } from "../consumer/givenUp.ts"
import type { FailureOutcome, HandlingOptions, Retry } from "../consumer/options.ts"
import { singly } from "../consumer/portions.ts"
import type { HandlerContext } from "../consumer/worker.ts"
import * as ConsumerWorker from "../consumer/worker.ts"
import { declarePartitionsOn } from "./declaring.ts"
import * as Numbers from "./numbers.ts"
import type { Failure, Options } from "./options.ts"
import { resolve } from "./options.ts"
import * as Owners from "./owners.ts"
import * as PartitionModule from "./partition.ts"
import type { Partitions } from "./partitions.ts"
import { parkingArguments } from "./partitions.ts"
import { ranksOf } from "./ranks.ts"

/** An instance at work. */
export interface Group {
  readonly health: () => GroupHealth
  /** Fails when the consumer of a partition cannot come back. */
  readonly ended: Effect.Effect<never, AmqpError>
}

const attachConcurrency = 16

/** Declares partitions on every session until the scope ends. */
export const declare = (partitions: Partitions): Effect.Effect<void, AmqpError, AmqpConnection | Scope.Scope> =>
  Effect.flatMap(
    AmqpConnection,
    (connection) => connection.register(undefined, (session) => declarePartitionsOn(session, partitions))
  )

const sayWhatIsNotBalanced = (
  connection: AmqpConnection,
  { name }: Partitions
): Effect.Effect<void, AmqpError> =>
  Effect.flatMap(
    connection.withSession("consume", `consume ${name}`, (session) => Effect.succeed(session.driver)),
    (driver) =>
      driver.serverProperties["product"] !== "RabbitMQ" || isRabbitMqSince(driver, 4, 0)
        ? Effect.void
        : Effect.logWarning(
          "AMQP partitions are not balanced by this broker: each stays with the instance that came first, until that is " +
            "gone. Their order is kept. RabbitMQ 4.0 hands a partition over to the instance of the highest rank",
          { group: name, version: driver.serverProperties["version"] }
        )
  )

/** Consumes until the scope ends; returns when the broker has a consumer for each partition. */
export const start = <E, R, R2>(
  partitions: Partitions,
  handler: (delivery: Delivery, partition: number) => Effect.Effect<unknown, E, R>,
  options: Options<E, R2>,
  context: HandlerContext<R | R2>
): Effect.Effect<Group, AmqpError, AmqpConnection | Scope.Scope> =>
  allOrNothing(begin(partitions, handler, options, context))

const begin = Effect.fnUntraced(function*<E, R, R2>(
  partitions: Partitions,
  handler: (delivery: Delivery, partition: number) => Effect.Effect<unknown, E, R>,
  options: Options<E, R2>,
  context: HandlerContext<R | R2>
): Effect.fn.Return<Group, AmqpError, AmqpConnection | Scope.Scope> {
  const { count, name, parked, queues } = partitions
  const resolved = yield* resolve(options)
  const { instance } = resolved
  const connection = yield* AmqpConnection
  yield* declare(partitions)
  yield* sayWhatIsNotBalanced(connection, partitions)
  let number: number | undefined
  let ranks: ReadonlyArray<number> = []
  yield* Numbers.register(name, (taken) => {
    number = taken
    ranks = ranksOf(taken, count)
  })
  // A schedule that is over at once: what the worker gets has been tried again.
  const park: Retry = {
    _tag: "Retry",
    schedule: Schedule.recurs(0),
    parkingQueue: parked.name,
    arguments: parkingArguments
  }
  const onFailure = (failure: unknown, delivery: Delivery): FailureOutcome =>
    failure instanceof GivenUp && resolved.onFailure(failure.error as Failure<E>, delivery) === "drop" ? "drop" : park

  const members: Array<{
    readonly partition: number
    readonly member: PartitionModule.Partition<R>
    readonly worker: ConsumerWorker.Worker
  }> = []
  const owners = yield* Owners.make(partitions, instance, (partition) => {
    const found = members[partition]
    found?.member.taken(found.worker.handlers())
  })
  // Partitions are left all at once: each waits for its own handlers.
  const scope = yield* Scope.fork(yield* Effect.scope, "parallel")
  yield* Effect.forEach(queues, (queue, partition) =>
    Effect.gen(function*() {
      const member = yield* PartitionModule.make(
        partition,
        handler,
        resolved,
        () => owners.announce(partition),
        context
      )
      const handling: HandlingOptions<GivenUp, Delivery> = {
        prefetch: resolved.prefetch,
        ackTimeout: options.ackTimeout,
        drainTimeout: resolved.drainTimeout,
        tracing: options.tracing,
        missingQueueTimeout: options.missingQueueTimeout,
        arguments: Effect.sync(() => ({ "x-priority": ranks[partition]! })),
        onFailure
      }
      const worker = yield* ConsumerWorker.start<Delivery, GivenUp | HandlerDecision, R>({
        queue,
        handler: member.handle,
        options: handling,
        portions: singly,
        atOnce: resolved.concurrency,
        concurrency: resolved.concurrency,
        orderedBy: resolved.orderedBy,
        context,
        lifecycle: member.lifecycle,
        forgetsDropped: true
      })
      members[partition] = { partition, member, worker }
    }).pipe((making) => Effect.flatMap(Scope.fork(scope), (own) => Scope.provide(making, own))), {
    concurrency: attachConcurrency,
    discard: true
  })

  const health = (): GroupHealth => ({
    group: name,
    instance,
    number,
    partitions: members.map(({ member, partition, worker }) => ({
      partition,
      consumer: worker.health(),
      active: member.isActive(),
      since: member.since()
    }))
  })
  yield* connection.watchGroup(health)
  return { health, ended: Effect.raceAllFirst(members.map(({ worker }) => worker.ended)) }
})
