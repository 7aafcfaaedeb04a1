/**
 * What a service is called at the broker: its queue of requests, and the exchange that reaches every server.
 */
import { AmqpError, InvalidConfiguration } from "effect-amqp/AmqpError"
import type * as AmqpTopology from "effect-amqp/AmqpTopology"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/** A service by its names at the broker. */
export interface ServiceNames {
  readonly name: string
  readonly whenNoServer: "fail" | "wait"
  readonly queue: AmqpTopology.Queue
  readonly control: AmqpTopology.Exchange
}

/** Makes the error of an option that cannot work. */
export const invalid = (option: string, detail: string): AmqpError =>
  new AmqpError({ operation: "configure", reason: new InvalidConfiguration({ option, detail }) })

/** Refuses a queue that does not do what the service says. */
export const checked = (service: ServiceNames): Effect.Effect<ServiceNames, AmqpError> => {
  const { queue, whenNoServer } = service
  if (queue.autoDelete === (whenNoServer === "fail")) return Effect.succeed(service)
  return Effect.fail(invalid(
    "queue",
    whenNoServer === "fail"
      ? `the queue "${queue.name}" stays when its last server goes, so that a call would wait: make it with ` +
        `autoDelete: true, or the service with whenNoServer: "wait"`
      : `the queue "${queue.name}" goes with its last server (autoDelete), so that a call would not wait: leave that out`
  ))
}

/** Checks a duration of more than 0. */
export const positive = (option: string, input: Duration.Input): Effect.Effect<number, AmqpError> => {
  const parsed = Duration.fromInput(input)
  return Option.isSome(parsed) && Duration.toMillis(parsed.value) > 0
    ? Effect.succeed(Duration.toMillis(parsed.value))
    : Effect.fail(invalid(option, `it must be a duration of more than 0, such as "5 seconds"`))
}

/** Checks a duration of more than 0 that ends. */
export const bound = (option: string, input: Duration.Input): Effect.Effect<number, AmqpError> =>
  Effect.filterOrFail(
    positive(option, input),
    Number.isFinite,
    () => invalid(option, "it must be finite")
  )
