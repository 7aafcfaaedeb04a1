/**
 * The outage of the embedded broker in the middle of a run.
 */
import { Effect } from "effect"
import { AmqpMemory } from "effect-amqp-memory"

/** The broker goes away: every connection is cut, and the next 3 attempts to connect are refused. */
export const begin = Effect.gen(function*() {
  const broker = yield* AmqpMemory.AmqpMemory
  yield* broker.refuseConnects(3)
  yield* broker.cutConnections
})
