/**
 * Saves the offset of a reader: together at intervals, and once more at the end. One save at a time, so that none can
 * overtake another.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { OffsetStore } from "../../OffsetStore.ts"
import { OffsetStoreError } from "../../OffsetStore.ts"
import type { Resolved } from "./options.ts"

/** Bounds what a store does. */
const inTime = <A>(
  operation: "load" | "save",
  { group, storeTimeout, stream }: Resolved,
  effect: Effect.Effect<A, OffsetStoreError>
): Effect.Effect<A, OffsetStoreError> =>
  Effect.timeoutOrElse(effect, {
    duration: storeTimeout,
    orElse: () =>
      Effect.fail(
        new OffsetStoreError({
          operation,
          group,
          stream: stream.name,
          cause: new Error(`the store did not answer within ${Duration.format(storeTimeout)}`)
        })
      )
  })

/** Loads the offset of the group. */
export const load = (store: OffsetStore, options: Resolved): Effect.Effect<number | undefined, OffsetStoreError> =>
  inTime("load", options, store.load(options.group, options.stream.name))

/** Saves the offset that `next` gives, if it is another than before. */
export const make = (
  store: OffsetStore,
  options: Resolved,
  loaded: number | undefined,
  next: () => number | undefined
): Effect.Effect<void, OffsetStoreError> => {
  const oneAtATime = Semaphore.makeUnsafe(1)
  let saved = loaded
  // A save that was interrupted could still arrive, behind a later one.
  return Effect.uninterruptible(oneAtATime.withPermit(Effect.suspend(() => {
    const offset = next()
    return offset === undefined || offset === saved ? Effect.void : Effect.tap(
      inTime("save", options, store.save(options.group, options.stream.name, offset)),
      () =>
        Effect.sync(() => {
          saved = offset
        })
    )
  })))
}

/** Saves at intervals until the scope ends, and once more then. Put it before what reads, so that it ends after it. */
export const keepSaving = Effect.fnUntraced(function*(
  save: Effect.Effect<void, OffsetStoreError>,
  { group, saveInterval, stream }: Resolved
): Effect.fn.Return<void, never, Scope.Scope> {
  let isFailing = false
  const attempt = Effect.matchEffect(save, {
    onSuccess: () => {
      const wasFailing = isFailing
      isFailing = false
      return wasFailing
        ? Effect.logInfo("AMQP stream offset is saved again", { group, stream: stream.name })
        : Effect.void
    },
    onFailure: (error) => {
      const log = isFailing ? Effect.logDebug : Effect.logWarning
      isFailing = true
      return log("AMQP stream offset could not be saved: what is handled meanwhile is handled again after a crash", {
        group,
        stream: stream.name,
        reason: error.message
      })
    }
  })
  yield* Effect.addFinalizer(() =>
    Effect.catch(
      save,
      (error) =>
        Effect.logError("AMQP stream offset could not be saved at the end: messages will be handled again", {
          group,
          stream: stream.name,
          reason: error.message
        })
    )
  )
  yield* Effect.sleep(saveInterval).pipe(Effect.andThen(attempt), Effect.forever, Effect.forkScoped)
})
