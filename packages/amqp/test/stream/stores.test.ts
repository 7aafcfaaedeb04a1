import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpStream, OffsetStore } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import * as KeyValueOffsetStore from "effect-amqp/KeyValueOffsetStore"
import * as SqlOffsetStore from "effect-amqp/SqlOffsetStore"
import { KeyValueStore } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { append, noting, onMemory, read } from "../support/Reading.ts"
import * as Sqlite from "../support/Sqlite.ts"

const onSqlite = (options?: Parameters<typeof SqlOffsetStore.layer>[0]) =>
  SqlOffsetStore.layer(options).pipe(Layer.provideMerge(Sqlite.layer(":memory:")))

const stores = [
  ["a KeyValueStore", KeyValueOffsetStore.layer().pipe(Layer.provide(KeyValueStore.layerMemory))],
  ["a table of SQLite", onSqlite()],
  [
    "a queue of RabbitMQ",
    AmqpStream.storeInQueue.pipe(Layer.provide(AmqpConnection.layer()), Layer.provide(AmqpMemory.layer))
  ]
] as const

describe.each(stores)("a store of offsets in %s", (_, layer) => {
  it.effect("has nothing at first, then what was saved last, of each group and stream", () =>
    Effect.gen(function*() {
      const store = yield* OffsetStore.OffsetStore
      assert.strictEqual(yield* store.load("g", "s"), undefined)
      yield* store.save("g", "s", 0)
      assert.strictEqual(yield* store.load("g", "s"), 0)
      yield* store.save("g", "s", 7)
      yield* store.save("g", "s", 2 ** 45)
      yield* store.load("h", "s")
      yield* store.save("h", "s", 1)
      yield* store.load("g", "t")
      yield* store.save("g", "t", 2)
      assert.deepStrictEqual(
        yield* Effect.all([store.load("g", "s"), store.load("h", "s"), store.load("g", "t"), store.load("h", "t")]),
        [2 ** 45, 1, 2, undefined]
      )
    }).pipe(Effect.provide(layer as Layer.Layer<OffsetStore.OffsetStore, unknown>)))
})

describe("a store of offsets", () => {
  it.effect("in a KeyValueStore keeps groups and streams apart whose names run together", () =>
    Effect.gen(function*() {
      const store = yield* OffsetStore.OffsetStore
      yield* store.save("a/b", "c", 1)
      yield* store.save("a", "b/c", 2)
      assert.strictEqual(yield* store.load("a/b", "c"), 1)
    }).pipe(Effect.provide(KeyValueOffsetStore.layer().pipe(Layer.provide(KeyValueStore.layerMemory)))))

  it.effect("fails at what is no offset, and takes it for no beginning", () =>
    Effect.gen(function*() {
      const kept = yield* KeyValueStore.KeyValueStore
      const store = yield* OffsetStore.OffsetStore
      for (const broken of ["", "-1", "1.5", "NaN", "{}"]) {
        yield* kept.set("amqp-offset:g/s", broken)
        const error = yield* Effect.flip(store.load("g", "s"))
        assert.strictEqual(error._tag, "OffsetStoreError")
        assert.include(error.message, `what is stored is no offset: ${broken}`)
      }
    }).pipe(Effect.provide(KeyValueOffsetStore.layer().pipe(Layer.provideMerge(KeyValueStore.layerMemory)))))

  it.effect("in a table uses the table that is there", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (let i = 0; i < 2; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const store = yield* SqlOffsetStore.make({ table: "places" })
          yield* store.save("g", "s", (yield* store.load("g", "s")) ?? 41)
        }))
      }
      assert.deepEqual(yield* sql`SELECT reader_group, stream, next_offset FROM places`, [
        { reader_group: "g", stream: "s", next_offset: 41 }
      ])
    }).pipe(Effect.provide(Sqlite.layer(":memory:"))))

  it.effect("in a table fails where the table is another one", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE amqp_offsets (id INTEGER)`
      const store = yield* SqlOffsetStore.make()
      const error = yield* Effect.flip(store.load("g", "s"))
      assert.strictEqual(error.operation, "load")
    }).pipe(Effect.provide(Sqlite.layer(":memory:"))))

  it.effect("in a queue whose queue was deleted has it again at the next save", () =>
    onMemory(Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const store = yield* OffsetStore.OffsetStore
        yield* store.save("g", "log", 3)
        assert.strictEqual(yield* store.load("g", "log"), 3)
      }).pipe(Effect.provide(AmqpStream.storeInQueue))
      const broker = yield* AmqpMemory.AmqpMemory

      assert.strictEqual(yield* broker.depth("log.offset.g"), 1)
    })))

  it.effect("in a queue finds an offset behind marks of others that found nothing", () =>
    onMemory(
      Effect.gen(function*() {
        const store = yield* OffsetStore.OffsetStore
        assert.strictEqual(yield* store.load("g", "log"), undefined)
        assert.strictEqual(yield* store.load("g", "log"), undefined)
        yield* store.save("g", "log", 12)
        const publisher = yield* AmqpPublisher.AmqpPublisher
        for (let i = 0; i < 20; i++) yield* publisher.publish({ routingKey: "log.offset.g", body: `none ${i}` })
        assert.strictEqual(yield* store.load("g", "log"), 12)
      }).pipe(Effect.provide(AmqpStream.storeInQueue))
    ))

  it.effect("that does not answer is given up after the storeTimeout, and costs the reader nothing", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<string> = []
      let answers = true
      const store: OffsetStore.OffsetStore = {
        load: () => Effect.undefined,
        save: () => Effect.suspend(() => answers ? Effect.void : Effect.never)
      }
      const scope = yield* Scope.make()
      const reader = yield* read(noting(handled), { saveInterval: "1 second", storeTimeout: "3 seconds" }).pipe(
        Effect.provideService(OffsetStore.OffsetStore, store),
        Scope.provide(scope)
      )
      answers = false
      yield* append("a")
      yield* pass(10_000)
      yield* append("b")
      yield* pass(1000)
      assert.deepStrictEqual(handled, ["a", "b"])
      assert.strictEqual((yield* reader.health)._tag, "Attached")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* pass(10_000)
      yield* settled
      assert.isDefined(closing.pollUnsafe())
    })))
})
