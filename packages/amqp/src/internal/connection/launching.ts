/**
 * The service by which a connection or a consumer that gives up ends the program that launched it.
 */
import * as Context from "effect/Context"
import type { AmqpError } from "../../AmqpError.ts"

/** Somebody who runs a program for as long as its connections and consumers can do their work. */
export interface Launching {
  /** Tell that one of them cannot any more. */
  readonly fail: (error: AmqpError) => void
}

/** Who launched the layer that is being built; nobody if it was not launched with `AmqpConnection.launch`. */
export const Launching: Context.Reference<Launching | undefined> = Context.Reference<Launching | undefined>(
  "effect-amqp/Launching",
  { defaultValue: () => undefined }
)
