import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Latch, Scope } from "effect"
import { AmqpStream } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { TestClock } from "effect/testing"
import { append, bodyOf, makeStore, noting, onMemory, read } from "../support/Reading.ts"

const cut = Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.cutConnections)

describe("a reader of a stream resumes", () => {
  it.effect("after a lost connection behind what it has handled, wherever it had begun", () =>
    Effect.forEach(["first", "last", "next", new Date(0), 1] as const, (from) =>
      onMemory(Effect.gen(function*() {
        const handled: Array<string> = []
        yield* append("a", "b")
        yield* Effect.forkScoped(Effect.flatMap(read(noting(handled), { from }), () => Effect.never))
        yield* settled
        yield* append("c", "d")
        yield* settled
        const before = handled.length
        yield* cut
        yield* append("e").pipe(Effect.forkScoped)
        yield* pass(5000)
        yield* append("f")
        yield* settled
        assert.deepStrictEqual(handled, ["a", "b", "c", "d", "e", "f"].slice(-before - 2), String(from))
        assert.strictEqual(before, from === "next" ? 2 : from === "last" || from === 1 ? 3 : 4)
      }))))

  it.effect("at what was published while it was away, though nothing had come before that", () =>
    Effect.forEach(["next", "last"] as const, (from) =>
      onMemory(Effect.gen(function*() {
        const handled: Array<string> = []
        const broker = yield* AmqpMemory.AmqpMemory
        yield* read(noting(handled), { from })
        yield* broker.cutConnections
        yield* broker.refuseConnects(2)
        yield* Effect.forkScoped(append("a", "b", "c"))
        yield* pass(10_000)
        assert.deepStrictEqual(handled, ["a", "b", "c"])
      }))))

  it.effect("at the offset of its group, when it is made again", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<string> = []
      yield* append("a", "b", "c")
      yield* Effect.scoped(Effect.andThen(read(noting(handled)), settled))
      yield* append("d", "e")
      yield* Effect.scoped(Effect.andThen(read(noting(handled), { from: "next" }), settled))
      assert.deepStrictEqual(handled, ["a", "b", "c", "d", "e"])
    })))

  it.effect("where it began, when it crashes before its first save", () => {
    const store = makeStore()
    return onMemory(
      Effect.gen(function*() {
        const handled: Array<string> = []
        yield* append("a")
        const scope = yield* Scope.make()
        yield* Effect.forkScoped(Scope.provide(read(() => Effect.never, { from: "next" }), scope))
        yield* settled
        yield* append("b")
        assert.deepStrictEqual(store.saves, [1])
        store.isDown = true
        yield* Effect.forkScoped(Scope.close(scope, Exit.void))
        yield* pass(60_000)
        store.isDown = false
        yield* read(noting(handled), { from: "next" })
        yield* settled
        assert.deepStrictEqual(handled, ["b"])
      }),
      { store }
    )
  })

  it.effect("without handling twice what is still being handled", () =>
    onMemory(Effect.gen(function*() {
      const begun: Array<string> = []
      const gate = Latch.makeUnsafe(false)
      const reader = yield* read(
        (delivery) => Effect.andThen(Effect.sync(() => begun.push(bodyOf(delivery))), gate.await),
        { concurrency: 3 }
      )
      yield* append("a", "b", "c", "d", "e")
      yield* cut
      yield* pass(5000)
      assert.deepStrictEqual(begun, ["a", "b", "c"])
      assert.strictEqual(yield* reader.offset, 0)
      yield* gate.open
      yield* settled
      assert.deepStrictEqual(begun, ["a", "b", "c", "d", "e"])
      assert.strictEqual(yield* reader.offset, 5)
    })))
})

describe("an offset", () => {
  it.effect("is saved together at intervals, and at the end", () => {
    const store = makeStore()
    return onMemory(
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(read(() => Effect.void, { saveInterval: "10 seconds" }), scope)
        yield* append("a", "b", "c")
        yield* pass(9000)
        assert.deepStrictEqual(store.saves, [])
        yield* pass(1000)
        assert.deepStrictEqual(store.saves, [3])
        yield* pass(30_000)
        yield* append("d")
        yield* append("e")
        assert.deepStrictEqual(store.saves, [3])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(store.saves, [3, 5])
      }),
      { store }
    )
  })

  it.effect("stays below a message that is being handled, whatever was handled behind it", () =>
    onMemory(Effect.gen(function*() {
      const gate = Latch.makeUnsafe(false)
      const reader = yield* read((delivery) => bodyOf(delivery) === "b" ? gate.await : Effect.void, { concurrency: 4 })
      yield* append("a", "b", "c", "d")
      assert.strictEqual(yield* reader.offset, 1)
      yield* gate.open
      yield* settled
      assert.strictEqual(yield* reader.offset, 4)
    })))

  it.effect("of another group is not disturbed", () => {
    const store = makeStore()
    return onMemory(
      Effect.gen(function*() {
        const billing: Array<string> = []
        const audit: Array<string> = []
        yield* append("a", "b", "c")
        yield* Effect.scoped(Effect.andThen(read(noting(billing)), settled))
        yield* Effect.scoped(Effect.andThen(read(noting(audit), { group: "audit", from: 1 }), settled))
        yield* append("d")
        yield* read(noting(billing))
        yield* read(noting(audit), { group: "audit" })
        yield* settled
        assert.deepStrictEqual([billing, audit], [["a", "b", "c", "d"], ["b", "c", "d"]])
      }),
      { store }
    )
  })

  it.effect("that cannot be saved costs no message, and is saved when the store is back", () => {
    const store = makeStore()
    return onMemory(
      Effect.gen(function*() {
        const handled: Array<string> = []
        yield* read(noting(handled))
        store.isDown = true
        yield* append("a")
        yield* pass(20_000)
        yield* append("b")
        store.isDown = false
        yield* pass(5000)
        assert.deepStrictEqual([handled, store.saves], [["a", "b"], [2]])
      }),
      { store }
    )
  })

  it.effect("that cannot be loaded fails the reader, which would begin anew", () => {
    const store = makeStore()
    store.isDown = true
    return onMemory(
      Effect.gen(function*() {
        const error = yield* Effect.flip(read(() => Effect.void))
        assert.strictEqual(
          error.message,
          "cannot load the offset of the group \"billing\" in the stream \"log\": down"
        )
      }),
      { store }
    )
  })

  it.effect("is kept in RabbitMQ alone, and found by the next process", () =>
    Effect.gen(function*() {
      const handled: Array<string> = []
      yield* append("a", "b")
      const reading = (group: string) =>
        Effect.scoped(Effect.andThen(read(noting(handled), { group }), settled)).pipe(
          Effect.provide(AmqpStream.storeInQueue)
        )
      yield* reading("billing")
      yield* append("c")
      yield* reading("billing")
      yield* reading("audit")
      assert.deepStrictEqual(handled, ["a", "b", "c", "a", "b", "c"])
    }).pipe(onMemory))
})

describe("the end of a reader", () => {
  it.effect("waits for running handlers, saves what they have handled, and leaves the rest to the next", () => {
    const store = makeStore()
    return onMemory(
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(read(() => Effect.sleep("10 seconds"), { concurrency: 2 }), scope)
        yield* append("a", "b", "c", "d")
        const closing = yield* Effect.forkScoped(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(closing.pollUnsafe(), undefined)
        yield* pass(6000)
        assert.strictEqual(store.saves.at(-1), 2)
      }),
      { store }
    )
  })
})
