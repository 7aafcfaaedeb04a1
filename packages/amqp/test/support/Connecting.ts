import { Exit } from "effect"
import type { AmqpError } from "effect-amqp"
import type * as ScriptedDriver from "./ScriptedDriver.ts"

export const newLog = (): ScriptedDriver.Log => ({ dials: [], open: 0, listeners: 0 })

export const reasonOf = <A>(exit: Exit.Exit<A, AmqpError.AmqpError>): AmqpError.AmqpErrorReason => {
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") throw new Error(`expected a failure, got ${exit._tag}`)
  return error.value.reason
}
