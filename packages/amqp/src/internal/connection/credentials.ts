/**
 * What a connection asks for again at each attempt: endpoints, credentials and TLS material may be values, or effects
 * that a resolver, a vault or a rotation of certificates answers.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Redacted from "effect/Redacted"
import { AmqpError, SourceFailed } from "../../AmqpError.ts"

/**
 * Names a user with a password or a token. With `expires`, credentials that are given as an `Effect` are asked for
 * again before that time.
 *
 * @category options
 * @since 0.2.0
 */
export interface Credentials {
  readonly username: string
  readonly password: Redacted.Redacted<string>
  readonly expires?: Date | DateTime.DateTime | undefined
}

/**
 * Gives a value, or an effect that is asked at each attempt to connect.
 *
 * @category options
 * @since 0.2.0
 */
export type Source<A> = A | Effect.Effect<A, unknown>

/** When credentials expire, in milliseconds since 1970, if they do. */
export const expiryOf = ({ expires }: Credentials): number | undefined =>
  expires === undefined ? undefined : expires instanceof Date ? expires.getTime() : DateTime.toEpochMillis(expires)

// The text of what failed may hold what it was to give.
const nameOf = (error: unknown): string =>
  Predicate.hasProperty(error, "_tag") && typeof error._tag === "string"
    ? error._tag
    : error instanceof Error
    ? error.name
    : typeof error

/** Asks a source, for no longer than a connect may take. */
export const ask = <A>(
  option: "endpoints" | "credentials" | "tls",
  source: Source<A>,
  timeout: Duration.Duration
): Effect.Effect<A, AmqpError> => {
  if (!Effect.isEffect(source)) return Effect.succeed(source)
  const failed = (detail: string) =>
    Effect.fail(new AmqpError({ operation: "connect", reason: new SourceFailed({ option, detail }) }))
  return (source as Effect.Effect<A, unknown>).pipe(
    Effect.catchDefect((defect) => failed(`it died with ${nameOf(defect)}`)),
    Effect.catch((error) =>
      error instanceof AmqpError ? Effect.fail(error) : failed(`it failed with ${nameOf(error)}`)
    ),
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () => failed(`it did not answer within ${Duration.toMillis(timeout)} ms`)
    })
  )
}
