/**
 * Where groups of readers keep how far they have read their streams. A service, so that the place is the application's
 * choice: `AmqpStream.storeInQueue` needs nothing but RabbitMQ, `KeyValueOffsetStore` and `SqlOffsetStore` keep offsets
 * beside an application's own data.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"

/**
 * An offset could not be loaded or saved.
 *
 * @category errors
 * @since 0.2.0
 */
export class OffsetStoreError extends Data.TaggedError("OffsetStoreError")<{
  readonly operation: "load" | "save"
  readonly group: string
  readonly stream: string
  /** What the store failed with. */
  readonly cause: unknown
}> {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `cannot ${this.operation} the offset of the group "${this.group}" in the stream "${this.stream}": ${why}`
  }
}

/**
 * Keeps an offset for each group and stream: the one at which the group goes on. All messages below it are handled.
 *
 * A store may lose the last saves, for then messages are handled once more. It must not find nothing where something was
 * saved, for then the group would begin anew. A reader saves one offset after the other, and bounds each call by time.
 *
 * @category services
 * @since 0.2.0
 */
export interface OffsetStore {
  /** Reads the offset at which the group goes on; `undefined` if none was ever saved. */
  readonly load: (group: string, stream: string) => Effect.Effect<number | undefined, OffsetStoreError>
  /** Saves the offset at which the group goes on. Succeeds when a crash does not lose it any more. */
  readonly save: (group: string, stream: string, offset: number) => Effect.Effect<void, OffsetStoreError>
}

/**
 * The service that keeps the offsets of groups.
 *
 * @category services
 * @since 0.2.0
 */
export const OffsetStore: Context.Service<OffsetStore, OffsetStore> = Context.Service<OffsetStore>(
  "effect-amqp/OffsetStore"
)
