/**
 * What a queue is called: by its user always the same, by the broker on a session.
 */
import * as Effect from "effect/Effect"
import type { Arguments } from "../../AmqpDriver.ts"
import { AmqpError, NotFound } from "../../AmqpError.ts"
import type { Session } from "./session.ts"

/** A queue by its name, as a value of `AmqpTopology.queue`, or one that the broker names. */
export type QueueLike =
  | string
  | {
    readonly _tag: "Queue"
    readonly name: string
    readonly durable: boolean
    readonly arguments: Arguments
  }
  | { readonly _tag: "ServerNamedQueue"; readonly label: string; readonly arguments: Arguments }

/** Returns the name, or the label of a server-named queue: what health, logs and metrics call the queue. */
export const labelOf = (queue: QueueLike): string =>
  typeof queue === "string" ? queue : queue._tag === "Queue" ? queue.name : queue.label

/** Returns the name on a session; fails with `NotFound` where no topology declares a server-named queue. */
export const nameOn = (session: Session, queue: QueueLike): Effect.Effect<string, AmqpError> => {
  if (typeof queue === "string" || queue._tag === "Queue") return Effect.succeed(labelOf(queue))
  const name = session.queues.nameOf(queue.label)
  return name !== undefined ? Effect.succeed(name) : Effect.fail(
    new AmqpError({
      operation: `declareQueue ${queue.label}`,
      reason: new NotFound({
        entity: "queue",
        entityName: queue.label,
        replyText: "no topology of this connection declares that server-named queue",
        nodeDown: false
      })
    })
  )
}

/** Declares a queue again that is gone within a session, if a topology of the connection declares it. */
const restore = (session: Session, queue: QueueLike): Effect.Effect<void, AmqpError> => {
  const declarations = session.queues.declarationsOf(
    typeof queue === "string" ? { _tag: "Queue", name: queue } : queue
  )
  if (declarations.length === 0) return Effect.void
  const label = labelOf(queue)
  const check = Effect.flatMap(
    nameOn(session, queue),
    (name) => session.withChannel(`checkQueue ${label}`, (channel) => channel.checkQueue(name))
  )
  return Effect.matchEffect(check, {
    onSuccess: () => Effect.void,
    // What else the broker has to say, it says again to the consumer.
    onFailure: ({ reason }) =>
      reason._tag === "NotFound" && !reason.nodeDown
        ? Effect.andThen(
          Effect.forEach(declarations, ({ declare }) => declare, { discard: true }),
          Effect.logWarning("AMQP queue was gone and is declared again", { queue: label })
        )
        : Effect.void
  })
}

/**
 * Names a queue each time that its consumer attaches. Whoever attaches again on the same session may have lost the queue:
 * it is declared again if it is gone. A declaration that is refused is logged once a session, because the consumer goes on.
 */
export const nameAtEachAttach = (queue: QueueLike): (session: Session) => Effect.Effect<string, AmqpError> => {
  let last: Session | undefined
  let isRefused = false
  return (session) =>
    Effect.suspend(() => {
      if (last !== session) {
        last = session
        isRefused = false
        return nameOn(session, queue)
      }
      return restore(session, queue).pipe(
        Effect.catch((error) => {
          const log = isRefused ? Effect.logDebug : Effect.logWarning
          isRefused = true
          return log("AMQP queue is gone and cannot be declared again", {
            queue: labelOf(queue),
            reason: error.message
          })
        }),
        Effect.andThen(nameOn(session, queue))
      )
    })
}
