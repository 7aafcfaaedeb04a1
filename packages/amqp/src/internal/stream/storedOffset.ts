/**
 * Offsets as stores give them back: what is none must not be taken for a beginning.
 */
import * as Effect from "effect/Effect"
import { OffsetStoreError } from "../../OffsetStore.ts"

/** Reads a stored offset; nothing stays nothing, and anything that is no offset fails. */
export const readOffset = (
  stored: unknown,
  of: { readonly group: string; readonly stream: string }
): Effect.Effect<number | undefined, OffsetStoreError> => {
  if (stored === undefined) return Effect.undefined
  const offset = (typeof stored === "string" && /^\d+$/.test(stored)) || typeof stored === "bigint"
    ? Number(stored)
    : stored
  return typeof offset === "number" && Number.isSafeInteger(offset) && offset >= 0
    ? Effect.succeed(offset)
    : Effect.fail(
      new OffsetStoreError({
        ...of,
        operation: "load",
        cause: new Error(`what is stored is no offset: ${String(stored)}`)
      })
    )
}
