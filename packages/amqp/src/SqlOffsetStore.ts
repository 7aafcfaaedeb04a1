/**
 * Offsets of streams in a table, over the `SqlClient` of Effect: whichever driver the application brings.
 *
 * A module of its own, so that nobody else pays for it, and because `effect/sql` is not stable yet.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { readOffset } from "./internal/stream/storedOffset.ts"
import { OffsetStore, OffsetStoreError } from "./OffsetStore.ts"

/**
 * Makes a store of offsets in a table with the columns `reader_group`, `stream` and `next_offset`, which is created if it
 * is missing. Its name defaults to `amqp_offsets`. Fails if the table can neither be created nor read.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function*(
  options: { readonly table?: string | undefined } = {}
): Effect.fn.Return<OffsetStore, SqlError, SqlClient> {
  const sql = (yield* SqlClient).withoutTransforms()
  const name = options.table ?? "amqp_offsets"
  const table = sql(name)
  const columns = sql`
    (reader_group VARCHAR(255) NOT NULL, stream VARCHAR(255) NOT NULL, next_offset BIGINT NOT NULL,
    PRIMARY KEY (reader_group, stream))`
  const create = sql.onDialectOrElse({
    mssql: () => sql`IF OBJECT_ID(${name}, 'U') IS NULL CREATE TABLE ${table} ${columns}`,
    orElse: () => sql`CREATE TABLE IF NOT EXISTS ${table} ${columns}`
  })
  // Whoever may not create tables uses what is there.
  yield* Effect.catch(
    create,
    (error) => Effect.mapError(sql`SELECT next_offset FROM ${table} WHERE 1 = 0`, () => error)
  )
  return OffsetStore.of({
    load: (group, stream) =>
      sql<{ readonly next_offset: unknown }>`
        SELECT next_offset FROM ${table} WHERE reader_group = ${group} AND stream = ${stream}`.pipe(
        Effect.mapError((cause) => new OffsetStoreError({ operation: "load", group, stream, cause })),
        Effect.flatMap(([row]) => readOffset(row?.next_offset, { group, stream }))
      ),
    // In this form every dialect has it.
    save: (group, stream, offset) =>
      sql`DELETE FROM ${table} WHERE reader_group = ${group} AND stream = ${stream}`.pipe(
        Effect.andThen(
          sql`INSERT INTO ${table} (reader_group, stream, next_offset) VALUES (${group}, ${stream}, ${offset})`
        ),
        sql.withTransaction,
        Effect.mapError((cause) => new OffsetStoreError({ operation: "save", group, stream, cause }))
      )
  })
})

/**
 * Provides the store that {@link make} makes.
 *
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import * as SqlOffsetStore from "effect-amqp/SqlOffsetStore"
 * import type { SqlClient } from "effect/sql"
 *
 * // The layer of a database, such as PgClient.layer({ url }) of @effect/sql-pg
 * const offsetsIn = <E, R>(database: Layer.Layer<SqlClient.SqlClient, E, R>) =>
 *   SqlOffsetStore.layer().pipe(Layer.provide(database))
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (
  options?: { readonly table?: string | undefined }
): Layer.Layer<OffsetStore, SqlError, SqlClient> => Layer.effect(OffsetStore, make(options))
