/**
 * What a consumer needs to know of its queue: from the queue's value, and of a queue by name as little as its consumer
 * says of it.
 */
import type { Arguments, WireProperties } from "../../AmqpDriver.ts"
import { isRabbitMqSince } from "../connection/brokerVersion.ts"
import type { QueueLike } from "../connection/queueName.ts"
import type { Session } from "../connection/session.ts"
import { mayHaveHeader, readableHeaders } from "../wire/properties.ts"
import type { DeadLetterTarget } from "./deadLetterTarget.ts"
import { targetOf } from "./deadLetterTarget.ts"

/** The type of a queue; `unknown` where the virtual host or another program decides it. */
export type QueueType = "classic" | "quorum" | "stream" | "unknown"

/** What is known of a queue. */
export interface QueueTraits {
  readonly type: QueueType
  /** The `x-delivery-limit` of the queue's value. */
  readonly deliveryLimit: number | undefined
  /** The queue has a dead letter exchange; `undefined` where nothing tells. */
  readonly deadLetters: boolean | undefined
  /** Where the queue's value says that dead letters go, unless its consumer says that they are kept. */
  readonly deadLetterTarget: DeadLetterTarget | undefined
  readonly singleActiveConsumer: boolean
}

// No message comes back so often: a limit from here on is written where there is to be none.
const unreachable = 1_000_000

// RabbitMQ's own limit for a queue that has none, since 4.0.
const defaultDeliveryLimit = 20

/** Reads the type of a queue from its value. */
export const typeOf = (queue: QueueLike): QueueType => {
  if (typeof queue === "string") return "unknown"
  if (queue._tag === "ServerNamedQueue") return "classic"
  switch (queue.arguments["x-queue-type"]) {
    case "classic":
    case "quorum":
    case "stream":
      return queue.arguments["x-queue-type"]
  }
  // The replicated types are durable, and have no priorities.
  return !queue.durable || "x-max-priority" in queue.arguments ? "classic" : "unknown"
}

/** Tells a message of a stream: it has its offset, and none is marked as redelivered. */
export const hasStreamOffset = (
  { properties, redelivered }: { readonly properties: WireProperties; readonly redelivered: boolean }
): boolean =>
  !redelivered && mayHaveHeader(properties, "x-stream-offset") &&
  typeof readableHeaders(properties)?.["x-stream-offset"] === "number"

/** Reads the traits of a queue, of which its consumer says whether it has a dead letter exchange. */
export const traitsOf = (queue: QueueLike, consumer: {
  readonly arguments: Arguments | undefined
  readonly deadLetters: boolean | undefined
}): QueueTraits => {
  const type = typeOf(queue)
  const value: Arguments = typeof queue === "string" ? {} : queue.arguments
  const limit = value["x-delivery-limit"]
  return {
    // Only streams have offsets.
    type: type === "unknown" && consumer.arguments?.["x-stream-offset"] !== undefined ? "stream" : type,
    deliveryLimit: typeof limit === "number" ? limit : undefined,
    deadLetters: consumer.deadLetters ??
      (type === "stream" ? false : typeof queue === "string" ? undefined : "x-dead-letter-exchange" in value),
    deadLetterTarget: consumer.deadLetters === undefined && type !== "stream" ? targetOf(value) : undefined,
    singleActiveConsumer: value["x-single-active-consumer"] === true
  }
}

/**
 * Returns how often a message may come back to its queue before the queue dead-letters or drops it; `undefined` for ever,
 * or where nothing tells.
 */
export const deliveryLimitOn = (session: Session, traits: QueueTraits): number | undefined => {
  if (traits.type === "classic" || traits.type === "stream") return undefined
  const limit = traits.deliveryLimit ?? (isRabbitMqSince(session.driver, 4, 0) ? defaultDeliveryLimit : undefined)
  return limit === undefined || limit < 0 || limit >= unreachable ? undefined : limit
}

/**
 * Tells that a message which no handler began with counts as a failed delivery when its consumer goes. Quorum queues of
 * RabbitMQ 4.3 do not count what is nacked before that; earlier ones count everything that was out.
 */
export const countsUnbegun = (session: Session, traits: QueueTraits, isByName: boolean): boolean =>
  !isRabbitMqSince(session.driver, 4, 3) &&
  // A queue by name may have any limit.
  (deliveryLimitOn(session, traits) !== undefined || (traits.type === "unknown" && isByName))
