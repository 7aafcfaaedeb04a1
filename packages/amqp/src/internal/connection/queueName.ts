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
  | { readonly _tag: "ServerNamedQueue"; readonly label: string }

/** Its name, or the label of a server-named queue: what health, logs and metrics call it. */
export const labelOf = (queue: QueueLike): string =>
  typeof queue === "string" ? queue : queue._tag === "Queue" ? queue.name : queue.label

/** Its name on a session. */
export const nameOn = (session: Session, queue: QueueLike): Effect.Effect<string, AmqpError> => {
  if (typeof queue === "string" || queue._tag === "Queue") return Effect.succeed(labelOf(queue))
  const name = session.queueNames.get(queue.label)
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
