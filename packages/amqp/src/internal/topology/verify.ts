/**
 * Looks at a topology that others have made, and says what differs from it.
 */
import * as Effect from "effect/Effect"
import { noChannelEvents } from "../../AmqpDriver.ts"
import type { DriverChannel } from "../../AmqpDriver.ts"
import { AmqpError, TopologyDiffers } from "../../AmqpError.ts"
import type { Session } from "../connection/session.ts"
import type { Exchange, Queue, Topology } from "./entities.ts"

const concurrency = 16

const look = (session: Session, channel: DriverChannel, entity: Exchange | Queue): Effect.Effect<void, AmqpError> =>
  entity._tag === "Exchange"
    ? session.bounded(`checkExchange ${entity.name}`, channel.checkExchange(entity.name))
    : Effect.asVoid(session.bounded(`checkQueue ${entity.name}`, channel.checkQueue(entity.name)))

/** Declares what is there already: that changes nothing, and fails where a property differs. */
const compare = (
  session: Session,
  channel: DriverChannel,
  entity: Exchange | Queue
): Effect.Effect<void, AmqpError> => {
  if (entity._tag === "Exchange") {
    const { _tag, name, ...properties } = entity
    return session.bounded(`checkExchange ${name}`, channel.declareExchange({ exchange: name, ...properties }))
  }
  const { _tag, name, ...properties } = entity
  return Effect.asVoid(session.bounded(`checkQueue ${name}`, channel.declareQueue({ queue: name, ...properties })))
}

/** What differs, as a sentence; nothing where the entity is as it should be, or may not be compared. */
const differenceOf = (session: Session, entity: Exchange | Queue): Effect.Effect<string | undefined, AmqpError> =>
  // A question that is answered by an error costs its channel.
  Effect.scoped(Effect.gen(function*() {
    const channel = yield* session.openChannel({ confirm: false }, noChannelEvents)
    yield* look(session, channel, entity)
    yield* compare(session, channel, entity)
    return undefined
  })).pipe(
    Effect.catchTag("AmqpError", (error) => {
      const { reason } = error
      const what = `the ${entity._tag === "Exchange" ? "exchange" : "queue"} "${entity.name}"`
      switch (reason._tag) {
        case "NotFound":
          return reason.nodeDown ? Effect.fail(error) : Effect.succeed(`${what} does not exist`)
        case "TopologyMismatch":
          return Effect.succeed(
            `${what} has another ${reason.argument}: wanted ${reason.wanted}, found ${reason.actual}`
          )
        case "ResourceLocked":
          return Effect.succeed(`${what} is exclusive to another connection`)
        case "AccessRefused":
          // Comparing needs the permission to configure, looking needs none.
          return Effect.succeed(undefined)
        default:
          return Effect.fail(error)
      }
    })
  )

/** Fails with `TopologyDiffers`, which has every difference, unless exchanges and queues are as the topology says. */
export const verifyOn = (session: Session, topology: Topology): Effect.Effect<void, AmqpError> =>
  Effect.flatMap(
    Effect.forEach([...topology.exchanges, ...topology.queues], (entity) => differenceOf(session, entity), {
      concurrency
    }),
    (found) => {
      const differences = found.filter((difference) => difference !== undefined)
      return differences.length === 0
        ? Effect.void
        : Effect.fail(new AmqpError({ operation: "verify", reason: new TopologyDiffers({ differences }) }))
    }
  )
