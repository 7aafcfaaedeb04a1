/**
 * The driver in use. Only this module chooses one, so that the port does not know its adapter.
 */
import * as Context from "effect/Context"
import type { AmqpDriver } from "./AmqpDriver.ts"
import * as AmqplibDriver from "./AmqplibDriver.ts"

/**
 * The driver that connections are made with. `AmqpMemory.layer` provides another. Defaults to `AmqplibDriver.driver`.
 *
 * @category drivers
 * @since 0.1.0
 */
export const CurrentDriver: Context.Reference<AmqpDriver> = Context.Reference<AmqpDriver>("effect-amqp/AmqpDriver", {
  defaultValue: () => AmqplibDriver.driver
})
