/**
 * The publishing program: an exchange, a queue, and a run of messages that each end as confirmed or as failed.
 */
import { Effect } from "effect"
import { AmqpConnection, AmqpTopology } from "effect-amqp"
import type { AmqpError, AmqpPublisher } from "effect-amqp"
import * as Publishing from "./Publishing.ts"
import type { Reporter } from "./Reporter.ts"

/** Where the messages go. */
export const exchange = AmqpTopology.exchange("my_exchange")

/** Where they end up. */
export const queue = AmqpTopology.queue("my_queue")

/** What leads from one to the other. */
export const routingKey = "my_routing_key"

/** All three as one value, declared on every session before anything is published. */
export const topology = AmqpTopology.make(exchange, queue, AmqpTopology.bind(queue, exchange, routingKey))

/**
 * Publish `Hello World! - 0`, `Hello World! - 1` and so on, one after the other.
 *
 * A message that fails does not stop the run, a connection that gave up does. Interrupted, the run waits for the
 * outcome of the message that is on its way, and reports it.
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

  // Without the race, a connection that gave up would fail every message that is left, one by one.
  yield* Effect.raceFirst(publishAll, connection.finished)
})
