/**
 * Offsets of streams in a `KeyValueStore` of Effect: files, Redis, a browser's storage, or whatever else there is one for.
 *
 * A module of its own, because `effect/persistence` is not stable yet.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import { readOffset } from "./internal/stream/storedOffset.ts"
import { OffsetStore, OffsetStoreError } from "./OffsetStore.ts"

/**
 * Makes a store of offsets over a `KeyValueStore`, one key for each group and stream. The keys begin with `prefix`, which
 * defaults to `amqp-offset:`.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (
  options: { readonly prefix?: string | undefined } = {}
): Effect.Effect<OffsetStore, never, KeyValueStore.KeyValueStore> =>
  Effect.map(KeyValueStore.KeyValueStore, (store) => {
    // Neither name may run into the other.
    const keyOf = (group: string, stream: string): string =>
      `${options.prefix ?? "amqp-offset:"}${encodeURIComponent(group)}/${encodeURIComponent(stream)}`
    return OffsetStore.of({
      load: (group, stream) =>
        store.get(keyOf(group, stream)).pipe(
          Effect.mapError((cause) => new OffsetStoreError({ operation: "load", group, stream, cause })),
          Effect.flatMap((stored) => readOffset(stored, { group, stream }))
        ),
      save: (group, stream, offset) =>
        Effect.mapError(
          store.set(keyOf(group, stream), String(offset)),
          (cause) => new OffsetStoreError({ operation: "save", group, stream, cause })
        )
    })
  })

/**
 * Provides the store that {@link make} makes.
 *
 * @example
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import * as KeyValueOffsetStore from "effect-amqp/KeyValueOffsetStore"
 * import { KeyValueStore } from "effect/persistence"
 *
 * const Offsets = KeyValueOffsetStore.layer().pipe(
 *   Layer.provide(KeyValueStore.layerFileSystem("offsets")),
 *   Layer.provide(NodeServices.layer)
 * )
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (
  options?: { readonly prefix?: string | undefined }
): Layer.Layer<OffsetStore, never, KeyValueStore.KeyValueStore> => Layer.effect(OffsetStore, make(options))
