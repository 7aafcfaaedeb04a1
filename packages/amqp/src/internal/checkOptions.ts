/**
 * Checks of options: each says which option was wrong, and what would be right.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { AmqpError, InvalidConfiguration } from "../AmqpError.ts"

/** The error of an option. */
export const invalid = (option: string, detail: string): AmqpError =>
  new AmqpError({ operation: "configure", reason: new InvalidConfiguration({ option, detail }) })

/** A duration of more than 0, which may be infinite. */
export const positive = (option: string, input: Duration.Input): Effect.Effect<Duration.Duration, AmqpError> => {
  const parsed = Duration.fromInput(input)
  return Option.isSome(parsed) && Duration.toMillis(parsed.value) > 0
    ? Effect.succeed(parsed.value)
    : Effect.fail(invalid(option, unitless(input) ?? `it must be a duration of more than 0, such as "5 seconds"`))
}

/** What is wrong with a duration that was written as a number in a text, as environment variables are. */
export const unitless = (input: Duration.Input): string | undefined =>
  typeof input === "string" && /^\s*\d+(\.\d+)?\s*$/.test(input)
    ? `it has no unit: write "${(input as string).trim()} seconds", or "${(input as string).trim()} millis"`
    : undefined

/** A duration that bounds something. */
export const bound = (option: string, input: Duration.Input): Effect.Effect<Duration.Duration, AmqpError> =>
  Effect.filterOrFail(
    positive(option, input),
    Duration.isFinite,
    () => invalid(option, "it must be finite: without a bound a call could hang")
  )

/** A whole number from 1. */
export const count = (
  option: string,
  value: number,
  maximum: number = Number.MAX_SAFE_INTEGER
): Effect.Effect<number, AmqpError> =>
  Number.isInteger(value) && value >= 1 && value <= maximum
    ? Effect.succeed(value)
    : Effect.fail(
      invalid(option, `${value} is not a whole number ${maximum < 1e9 ? `from 1 to ${maximum}` : "of 1 or more"}`)
    )
