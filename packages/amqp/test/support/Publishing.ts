import { Effect } from "effect"
import { AmqpConnection, AmqpPublisher } from "effect-amqp"
import type { AmqpMessage, PublishError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as Virtual from "./Virtual.ts"

export const paid = (body: AmqpMessage.Body, rest: Partial<AmqpMessage.Message> = {}): AmqpMessage.Message => ({
  exchange: Virtual.orders,
  routingKey: "paid",
  body,
  ...rest
})

export const reason = <A>(effect: Effect.Effect<A, PublishError.PublishError, AmqpPublisher.AmqpPublisher>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason)

export const publish = (message: AmqpMessage.Message) =>
  Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) => publisher.publish(message))

/** Start an effect and let it come as far as it can without time passing. */
export const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), TestClock.adjust(0))

export const depth = (queue = "invoices") => Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.depth(queue))

export const connectionLayer = AmqpConnection.layer({ retry: { interval: "1 second", max: 100 } })
