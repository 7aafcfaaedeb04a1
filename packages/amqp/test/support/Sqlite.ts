/** A `SqlClient` of Effect over the SQLite of Node, as much of one as a test needs. */
import { Effect, Layer, Semaphore, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlConnection } from "effect/sql"
import { SqlClient, SqlError, Statement } from "effect/sql"
import { DatabaseSync } from "node:sqlite"

const make = (file: string) =>
  Effect.gen(function*() {
    const database = yield* Effect.acquireRelease(
      Effect.sync(() => new DatabaseSync(file)),
      (database) => Effect.sync(() => database.close())
    )
    const rows = (sql: string, params: ReadonlyArray<unknown>) =>
      Effect.try({
        try: () => database.prepare(sql).all(...params as Array<string>) as Array<Record<string, unknown>>,
        catch: (cause) => new SqlError.SqlError({ reason: SqlError.classifySqliteError(cause, {}) })
      })
    const connection: SqlConnection.Connection = {
      execute: (sql, params, transform) => Effect.map(rows(sql, params), (found) => transform?.(found) ?? found),
      executeRaw: rows,
      executeValues: (sql, params) => Effect.map(rows(sql, params), (found) => found.map(Object.values)),
      executeValuesUnprepared: (sql, params) => Effect.map(rows(sql, params), (found) => found.map(Object.values)),
      executeUnprepared: (sql, params, transform) =>
        Effect.map(rows(sql, params), (found) => transform?.(found) ?? found),
      executeStream: () => Stream.die("a test streams no rows")
    }
    const semaphore = Semaphore.makeUnsafe(1)
    return yield* SqlClient.make({
      ...SqlClient.makeSqliteAcquirers({ connection: Effect.succeed(connection), semaphore }),
      compiler: Statement.makeCompilerSqlite(),
      driver: "node:sqlite",
      spanAttributes: []
    })
  })

export const layer = (file: string): Layer.Layer<SqlClient.SqlClient> =>
  Layer.effect(SqlClient.SqlClient, make(file)).pipe(Layer.provide(Reactivity.layer))
