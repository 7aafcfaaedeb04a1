/**
 * Acquires several resources as one: all of them, or none.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/**
 * Acquires into the scope; if that fails, what was acquired until then is released at once. Whoever tries again in the
 * same scope would otherwise leave something of every attempt behind.
 */
export const allOrNothing = <A, E, R>(acquire: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.flatMap(Effect.scope, (outer) => Scope.fork(outer)),
      (scope) =>
        restore(Scope.provide(acquire, scope)).pipe(
          Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
        )
    )
  )
