/**
 * The journal of the shop, line by line.
 */
import { Context } from "effect"
import type { Effect } from "effect"

/** The service to which the shop tells its events. */
export class Journal extends Context.Service<Journal, {
  readonly write: (line: string) => Effect.Effect<void>
}>()("effect-amqp-example/shop/Journal") {}
