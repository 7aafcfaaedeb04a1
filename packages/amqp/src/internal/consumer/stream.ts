/**
 * Deliveries as a stream. A chunk is what came since the last pull, without what was lost with its channel.
 */
import type { NonEmptyArray, NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { AmqpConnection } from "../../AmqpConnection.ts"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import * as WakeLater from "../wakeLater.ts"
import type { AttachmentOptions } from "./attachment.ts"
import { attach } from "./attachment.ts"

/** Consumes until the scope ends. */
export const make = Effect.fnUntraced(function*(
  connection: AmqpConnection,
  options: AttachmentOptions
): Effect.fn.Return<Stream.Stream<Delivery, AmqpError>, AmqpError, Scope.Scope> {
  const wakeLater = yield* WakeLater.make
  let buffer: Array<Delivery> = []
  let failure: AmqpError | undefined
  let onChange: (() => void) | undefined

  const attachment = yield* attach(connection, options, {
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
  yield* Effect.addFinalizer(() => attachment.cancel)
  yield* attachment.ended.pipe(
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
