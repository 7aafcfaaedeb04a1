/**
 * Operations that a type of queue does not have: RabbitMQ ends the connection at some, and does others all the same.
 */
import * as Effect from "effect/Effect"
import type { AmqpError } from "../../AmqpError.ts"
import { typeOn } from "../connection/queueTypes.ts"
import type { Session } from "../connection/session.ts"
import type { Named } from "../named.ts"
import { nameOf, queueTypeOf } from "../named.ts"
import { Refused } from "../wire/limits.ts"

/** An operation, or an option of one. */
export type Asked = "get" | "purgeQueue" | "ifUnused" | "ifEmpty"

const refusedAs = (type: string | undefined, name: string, asked: Asked): Refused | undefined => {
  switch (asked) {
    case "get":
    case "purgeQueue":
      return type !== "stream" ? undefined : new Refused(
        "queue",
        `"${name}" is a stream, which keeps its messages; ` +
          (asked === "get" ? "read it with AmqpConsumer" : "delete it, or let it forget by x-max-age")
      )
    default:
      return type === "quorum"
        ? new Refused(asked, "RabbitMQ has it for classic queues only; look with checkQueue, and leave it out")
        : type === "stream"
        ? new Refused(asked, "RabbitMQ deletes a stream whatever it says; leave it out")
        : undefined
  }
}

/** Refuses what RabbitMQ answers with the end of the connection, or with a loss, where the queue's value tells. */
export const refusedFor = (queue: Named<"Queue">, asked: Asked): Refused | undefined =>
  refusedAs(queueTypeOf(queue), nameOf(queue), asked)

/** Refuses likewise where the value does not tell. */
export const refusedOn = (
  session: Session,
  operation: string,
  queue: Named<"Queue">,
  asked: Asked
): Effect.Effect<Refused | undefined, AmqpError> => {
  if (queueTypeOf(queue) !== undefined) return Effect.succeed(refusedFor(queue, asked))
  const name = nameOf(queue)
  const isExact = asked === "ifUnused" || asked === "ifEmpty"
  return Effect.map(typeOn(session, operation, name, isExact), (type) => refusedAs(type, name, asked))
}
