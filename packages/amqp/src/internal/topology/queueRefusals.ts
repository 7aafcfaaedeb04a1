/**
 * Operations that a type of queue does not have: RabbitMQ ends the connection at some, and does others all the same.
 */
import type { Named } from "../named.ts"
import { nameOf, queueTypeOf } from "../named.ts"
import { Refused } from "../wire/limits.ts"

/** Refuses what RabbitMQ answers with the end of the connection, or with a loss, where the queue's value tells. */
export const refusedFor = (
  queue: Named<"Queue">,
  asked: "get" | "purgeQueue" | "ifUnused" | "ifEmpty"
): Refused | undefined => {
  const type = queueTypeOf(queue)
  switch (asked) {
    case "get":
    case "purgeQueue":
      return type !== "stream" ? undefined : new Refused(
        "queue",
        `"${nameOf(queue)}" is a stream, which keeps its messages; ` +
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
