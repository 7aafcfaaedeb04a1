/**
 * Deliveries as a stream: what came since the last pull is one chunk, and what its channel took with it is left out.
 */
import type { NonEmptyArray, NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { AmqpConnection } from "../../AmqpConnection.ts"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import * as WakeLater from "../wakeLater.ts"
import type { SubscriptionOptions } from "./subscription.ts"
import { subscribe } from "./subscription.ts"

/** Subscribe until the scope ends. */
export const make = Effect.fnUntraced(function*(
  connection: AmqpConnection,
  options: SubscriptionOptions
): Effect.fn.Return<Stream.Stream<Delivery, AmqpError>, AmqpError, Scope.Scope> {
  const wakeLater = yield* WakeLater.make
  let buffer: Array<Delivery> = []
  let failure: AmqpError | undefined
  let onChange: (() => void) | undefined

  const subscription = yield* subscribe(connection, options, {
    onOpened() {},
    onDelivery(delivery) {
      // The prefetch bounds it.
      buffer.push(delivery)
      if (buffer.length === 1) wakeLater(() => onChange?.())
    },
    onDetached() {
      buffer = []
    },
    onStale() {}
  })
  yield* Effect.addFinalizer(() => subscription.cancel)
  yield* subscription.ended.pipe(
    Effect.catch((error) =>
      Effect.sync(() => {
        failure = error
        onChange?.()
      })
    ),
    Effect.forkScoped
  )

  const pull = Effect.callback<NonEmptyReadonlyArray<Delivery>, AmqpError>((resume) => {
    const answer = () => {
      // Before resuming: that runs the fiber at once, which may well wait for the next change already.
      onChange = undefined
      if (buffer.length > 0) {
        const chunk = buffer as NonEmptyArray<Delivery>
        buffer = []
        resume(Effect.succeed(chunk))
      } else if (failure !== undefined) resume(Effect.fail(failure))
      else onChange = answer
    }
    answer()
    return Effect.sync(() => {
      onChange = undefined
    })
  })
  return Stream.fromPull(Effect.succeed(pull))
})
