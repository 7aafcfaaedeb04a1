/**
 * The publishing program: an exchange, a queue, and a run of messages that each end as confirmed or as failed.
 */
import { Effect } from "effect"
import { AmqpConnection, AmqpTopology } from "effect-amqp"
import type { AmqpError, AmqpPublisher } from "effect-amqp"
import * as Publishing from "./Publishing.ts"
import type { Reporter } from "./Reporter.ts"

/** The exchange of the messages. */
export const exchange = AmqpTopology.exchange("my_exchange")

/** The queue of the messages. */
export const queue = AmqpTopology.queue("my_queue")

/** The binding from the exchange to the queue. */
export const routingKey = "my_routing_key"

/** The topology as one value. Every session declares it before its first message. */
export const topology = AmqpTopology.make(exchange, queue, AmqpTopology.bind(queue, exchange, routingKey))

/**
 * Publishes `Hello World! - 0`, `Hello World! - 1` and so on, one after the other.
 *
 * A message that fails does not stop the run. A connection that gave up stops it. An interrupted run waits for the
 * outcome of the message in flight, and reports it.
 */
export const run = Effect.fnUntraced(function*<R>(
  options: Publishing.Options<R>
): Effect.fn.Return<
  void,
  AmqpError.AmqpError,
  AmqpConnection.AmqpConnection | AmqpPublisher.AmqpPublisher | Reporter | R
> {
  const connection = yield* AmqpConnection.AmqpConnection
  const publishAll = Publishing.publishAll((n) => ({ exchange, routingKey, body: `Hello World! - ${n}` }), options)

  // Without the race, a connection that gave up would fail every remaining message, one by one.
  yield* Effect.raceFirst(publishAll, connection.finished)
})
