/**
 * The driver in use: amqplib's unless another is provided, as `AmqpMemory.layer` does.
 */
import * as Context from "effect/Context"
import type { AmqpDriver } from "./AmqpDriver.ts"
import * as AmqplibDriver from "./AmqplibDriver.ts"

/** The driver that connections are made with. */
export const CurrentDriver: Context.Reference<AmqpDriver> = Context.Reference<AmqpDriver>("effect-amqp/AmqpDriver", {
  defaultValue: () => AmqplibDriver.driver
})
