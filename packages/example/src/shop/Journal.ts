/**
 * What happens in the shop, line by line.
 */
import { Context } from "effect"
import type { Effect } from "effect"

/** Where the shop says what it does. */
export class Journal extends Context.Service<Journal, {
  readonly write: (line: string) => Effect.Effect<void>
}>()("effect-amqp-example/shop/Journal") {}
