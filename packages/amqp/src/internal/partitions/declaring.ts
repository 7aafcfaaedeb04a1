/**
 * Declares partitions, and sees to it that nobody counts them in another way while messages are in their queues: a key
 * would be in two partitions then, and in no order.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { noChannelEvents } from "../../AmqpDriver.ts"
import { AmqpError, InvalidConfiguration } from "../../AmqpError.ts"
import * as AmqpTopology from "../../AmqpTopology.ts"
import type { Session } from "../connection/session.ts"
import { declareOn, rememberOn } from "../topology/declare.ts"
import type { Partitions } from "./partitions.ts"
import { countOf, make, queueOf } from "./partitions.ts"

const concurrency = 16

/** What is in the queue of a partition, or was there; nothing where there is no such queue. */
interface Use {
  readonly queue: string
  readonly messages: number
  readonly consumers: number
}

const useOf = (session: Session, queue: string): Effect.Effect<Use | undefined, AmqpError> =>
  Effect.scoped(
    Effect.flatMap(
      session.openChannel({ confirm: false }, noChannelEvents),
      (channel) => session.bounded(`checkQueue ${queue}`, channel.checkQueue(queue))
    )
  ).pipe(
    Effect.map(({ consumerCount, messageCount }) => ({ queue, messages: messageCount, consumers: consumerCount })),
    Effect.catch((error) =>
      error.reason._tag === "NotFound" && !error.reason.nodeDown ? Effect.undefined : Effect.fail(error)
    )
  )

const described = (uses: ReadonlyArray<Use>): string => {
  const some = uses.slice(0, 5).map(({ consumers, messages, queue }) =>
    `${queue} has ${messages} messages and ${consumers} consumers`
  )
  return uses.length > some.length ? `${some.join(", ")}, and ${uses.length - some.length} more` : some.join(", ")
}

/** Lets the partitions have another count, once nothing is in their queues and nobody consumes from them. */
const recount = Effect.fnUntraced(function*(
  session: Session,
  { count, name, parked }: Partitions,
  before: number
): Effect.fn.Return<void, AmqpError> {
  const { marker, exchange } = make(name, count)
  const found = yield* Effect.forEach(
    Array.from({ length: Math.max(before, count) }, (_, partition) => `${name}.${partition}`),
    (queue) => useOf(session, queue),
    { concurrency }
  )
  const inUse = found.filter((use) => use !== undefined && use.messages + use.consumers > 0) as ReadonlyArray<Use>
  if (inUse.length > 0) {
    return yield* new AmqpError({
      operation: `declare partitions ${name}`,
      reason: new InvalidConfiguration({
        option: "count",
        detail: `it is ${count}, and "${name}" has ${before} partitions that are in use: ${described(inUse)}. With ` +
          `another count their keys would be in other partitions, and in no order. Stop the publishers, let the ` +
          `instances with ${before} partitions handle what is in the queues, stop them, and start with ${count} then`
      })
    })
  }
  yield* session.withChannel(
    `declare partitions ${name}`,
    (channel) => channel.deleteExchange(marker.name, { ifUnused: false })
  )
  yield* declareOn(session, AmqpTopology.make(marker))
  const left = Array.from({ length: Math.max(0, before - count) }, (_, at) => queueOf(name, count + at, parked.name))
  yield* declareOn(
    session,
    AmqpTopology.make(...left.map((queue, at) => AmqpTopology.unbind(queue, exchange, String(count + at))))
  )
  yield* Effect.logWarning("AMQP partitions have another count", { name, before, count })
  if (left.length > 0) {
    yield* Effect.logInfo("AMQP partitions leave empty queues behind, which may be deleted", {
      queues: left.map(({ name }) => name).join(", ")
    })
  }
})

/** Declares partitions on a session, and lets their queues be declared again when one is gone. */
export const declarePartitionsOn = (
  session: Session,
  partitions: Partitions
): Effect.Effect<void, AmqpError, Scope.Scope> =>
  declareOn(session, AmqpTopology.make(make(partitions.name, partitions.count).marker)).pipe(
    Effect.catch((error) => {
      const { reason } = error
      const before = reason._tag === "TopologyMismatch" && reason.argument === "alternate-exchange"
        ? countOf(partitions.name, reason.actual)
        : undefined
      return before === undefined ? Effect.fail(error) : recount(session, partitions, before)
    }),
    Effect.andThen(declareOn(session, partitions.topology)),
    Effect.andThen(rememberOn(session, partitions.topology, [...partitions.queues, partitions.parked]))
  )
