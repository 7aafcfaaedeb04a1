/**
 * Where a queue's dead letters go. RabbitMQ drops them without a word if that does not exist.
 *
 * @see https://www.rabbitmq.com/docs/dlx
 */
import * as Effect from "effect/Effect"
import type { Arguments } from "../../AmqpDriver.ts"
import type { Session } from "../connection/session.ts"

/** An exchange, or the queue that the default exchange routes to. */
export interface DeadLetterTarget {
  readonly kind: "exchange" | "queue"
  readonly name: string
}

/** Reads the target from the arguments of a queue; `undefined` where they tell none. */
export const targetOf = (args: Arguments): DeadLetterTarget | undefined => {
  const exchange = args["x-dead-letter-exchange"]
  const routingKey = args["x-dead-letter-routing-key"]
  if (typeof exchange !== "string") return undefined
  if (exchange !== "") return { kind: "exchange", name: exchange }
  return typeof routingKey === "string" ? { kind: "queue", name: routingKey } : undefined
}

/** Asks the broker if the target is missing; `false` also where it cannot tell. */
export const isMissing = (session: Session, { kind, name }: DeadLetterTarget): Effect.Effect<boolean> => {
  const operation = `check dead letter ${kind} ${name}`
  return session.withChannel(
    operation,
    (channel) => kind === "exchange" ? channel.checkExchange(name) : Effect.asVoid(channel.checkQueue(name))
  ).pipe(
    Effect.as(false),
    Effect.catch(({ reason }) => Effect.succeed(reason._tag === "NotFound" && !reason.nodeDown))
  )
}
