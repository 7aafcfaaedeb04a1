/**
 * Who has a partition now. RabbitMQ tells a consumer neither that it is the active one nor that it no longer is, so the
 * instance that gets a message of a partition says so, and the others hear that the partition is not theirs. Nothing is
 * decided by it: an announcement that is lost, or late, costs the order nothing.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as AmqpConsumer from "../../AmqpConsumer.ts"
import type { AmqpError } from "../../AmqpError.ts"
import * as AmqpPublisher from "../../AmqpPublisher.ts"
import * as AmqpTopology from "../../AmqpTopology.ts"
import { AmqpConnection } from "../connection/service.ts"
import type { Partitions } from "./partitions.ts"
import { ownersOf } from "./partitions.ts"

/** Tells the other instances what this one has. */
export interface Owners {
  /** Says that this instance has a partition, without waiting for it. */
  readonly announce: (partition: number) => void
}

/** Hears the other instances until the scope ends, and says for each partition that another one has it. */
export const make = Effect.fnUntraced(function*(
  { name }: Partitions,
  instance: string,
  onTaken: (partition: number) => void
): Effect.fn.Return<Owners, AmqpError, AmqpConnection | Scope.Scope> {
  const connection = yield* AmqpConnection
  const exchange = ownersOf(name)
  const heard = AmqpTopology.serverNamedQueue(`${name} owners, heard by ${instance}`)
  yield* AmqpTopology.declare(AmqpTopology.make(exchange, heard, AmqpTopology.bind(heard, exchange)))
  yield* AmqpConsumer.make(heard, ({ messageId, routingKey }) =>
    Effect.sync(() => {
      const partition = Number(routingKey)
      if (messageId !== instance && Number.isInteger(partition)) onTaken(partition)
    }), { noAck: true })

  // Its place among the finalizers is here, whenever it is filled.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const oneAtATime = Semaphore.makeUnsafe(1)
  let publisher: AmqpPublisher.AmqpPublisher | undefined
  const open: Effect.Effect<AmqpPublisher.AmqpPublisher, AmqpError> = oneAtATime.withPermit(
    Effect.suspend(() =>
      publisher !== undefined ? Effect.succeed(publisher) : AmqpPublisher.make().pipe(
        Scope.provide(scope),
        Effect.provideService(AmqpConnection, connection),
        Effect.tap((made) => Effect.sync(() => publisher = made))
      )
    )
  )
  const run = yield* FiberSet.makeRuntime<never>()
  return {
    announce: (partition) =>
      void run(
        Effect.flatMap(open, ({ publish }) =>
          publish({
            exchange,
            routingKey: String(partition),
            messageId: instance,
            mandatory: false,
            persistent: false,
            body: ""
          })).pipe(
            Effect.catch(({ message }) =>
              Effect.logInfo("AMQP partition: the other instances do not hear who has it", {
                group: name,
                partition,
                reason: message
              })
            )
          )
      )
  }
})
