/**
 * Keeps the credentials of a session valid: asks for new ones before they expire, and hands the secret to the broker.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { AmqpError as AmqpErrorType } from "../../AmqpError.ts"
import { AmqpError, ConnectionLost } from "../../AmqpError.ts"
import type { Credentials } from "./credentials.ts"
import { expiryOf } from "./credentials.ts"
import type { Session } from "./session.ts"

// What is left of a lifetime when new credentials are asked for, so that a source that fails can be asked again.
const reserve = 0.2

// A source that fails, or that gives credentials that are about to expire, is asked no more often than this.
const pauseMillis = 1000

/** Renew until the session ends, or until credentials come that do not expire. */
export const keepFresh = Effect.fnUntraced(function*(
  session: Session,
  expires: number | undefined,
  ask: Effect.Effect<Credentials, AmqpErrorType>
): Effect.fn.Return<void> {
  const clock = yield* Clock.Clock
  let due = expires
  while (due !== undefined) {
    const left = due - clock.currentTimeMillisUnsafe()
    yield* Effect.sleep(Math.max(pauseMillis, left * (1 - reserve)))
    const result = yield* Effect.result(ask)
    if (result._tag === "Failure") {
      yield* Effect.logWarning("AMQP credentials could not be renewed, asking again", {
        reason: result.failure.message,
        expiresInMillis: due - clock.currentTimeMillisUnsafe()
      })
      continue
    }
    const { password, username } = result.success
    if (username !== session.username) {
      // A connection keeps its user: the next one is made as the new one.
      return session.driver.destroyUnsafe(
        new AmqpError({
          operation: "updateSecret",
          reason: new ConnectionLost({ replyCode: undefined, replyText: "the credentials name another user now" })
        })
      )
    }
    const updated = yield* Effect.result(
      session.bounded("updateSecret", session.driver.updateSecret(password, "the secret was renewed"))
    )
    if (updated._tag === "Failure") {
      yield* Effect.logWarning("AMQP credentials were not renewed by the broker", { reason: updated.failure.message })
      if (!session.isAlive) return
    }
    due = expiryOf(result.success)
  }
})
