/**
 * What effect/rpc promises on every transport, as one suite: effect's own transport in memory says what is right.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Queue, Stream } from "effect"
import type { Scope } from "effect"
import * as Patience from "effect-amqp-test-rig/Patience"
import { RpcClient } from "effect/rpc"
import type { RpcClientError, RpcGroup } from "effect/rpc"
import type { Calc } from "./Calc.ts"
import { Journal } from "./Calc.ts"

type Client = RpcClient.RpcClient<RpcGroup.Rpcs<typeof Calc>, RpcClientError.RpcClientError>

/** Gives a test a client of a server of its own, and the journal of that server. */
export type Transport = <A, E>(
  test: (client: Client) => Effect.Effect<A, E, Journal | Scope.Scope>
) => Effect.Effect<A, unknown>

const said = (line: string) =>
  Effect.flatMap(
    Journal,
    (journal) => Patience.until(`the server says "${line}"`, Effect.sync(() => journal.lines.includes(line)))
  )

export const behaviours = (name: string, over: Transport) =>
  describe(`effect/rpc over ${name}`, () => {
    it.live("answers a call, and encodes what schemas encode", () =>
      over(Effect.fnUntraced(function*(client) {
        assert.strictEqual(yield* client.Add({ a: 1, b: 2 }), 3)
        assert.strictEqual((yield* client.Take({ n: 1 })).getTime(), 0)
        const text = "žluťoučký kůň 🐎".repeat(10_000)
        assert.strictEqual(yield* client.Echo({ text }), text)
      })))

    it.live("fails a call with the error that its handler fails with", () =>
      over(Effect.fnUntraced(function*(client) {
        const error = yield* Effect.flip(client.Take({ n: 9 }))
        assert.deepInclude(error, { _tag: "NotEnough", have: 3 })
      })))

    it.live("lets a call die of its handler's defect, and goes on", () =>
      over(Effect.fnUntraced(function*(client) {
        const exit = yield* Effect.exit(client.Die({ reason: "on purpose" }))
        assert.isTrue(Exit.hasDies(exit))
        if (Exit.isFailure(exit)) assert.include(Cause.pretty(exit.cause), "on purpose")
        assert.strictEqual(yield* client.Add({ a: 1, b: 2 }), 3)
      })))

    it.live("gives each of 1,000 calls at once its own answer", () =>
      over(Effect.fnUntraced(function*(client) {
        const numbers = Array.from({ length: 1000 }, (_, i) => i)
        const sums = yield* Effect.forEach(numbers, (a) => client.Add({ a, b: 1 }), { concurrency: "unbounded" })
        assert.deepStrictEqual(sums, numbers.map((a) => a + 1))
      })))

    it.live("streams all items in order, and none if there is none", () =>
      over(Effect.fnUntraced(function*(client) {
        const items = yield* Stream.runCollect(client.Count({ to: 12_345 }))
        assert.deepStrictEqual(items, Array.from({ length: 12_345 }, (_, i) => i + 1))
        assert.deepStrictEqual(yield* Stream.runCollect(client.CountThenFail({ to: 0 }).pipe(Stream.ignore)), [])
      })))

    it.live("ends a stream with the error of its handler, after its items", () =>
      over(Effect.fnUntraced(function*(client) {
        const items: Array<number> = []
        const error = yield* Effect.flip(
          Stream.runForEach(client.CountThenFail({ to: 10 }), (n) => Effect.sync(() => items.push(n)))
        )
        assert.deepInclude(error, { _tag: "NotEnough", have: 10 })
        assert.deepStrictEqual(items, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      })))

    it.live("lets a stream run no further ahead than its reader reads", () =>
      over(Effect.fnUntraced(function*(client) {
        const journal = yield* Journal
        const queue = yield* client.Count({ to: 1_000_000 }, { asQueue: true })
        assert.strictEqual(yield* Queue.take(queue), 1)
        yield* Effect.sleep("100 millis")
        assert.isAtMost(journal.produced, 1000)
      })))

    it.live("interrupts the handler of a stream whose reader has enough", () =>
      over(Effect.fnUntraced(function*(client) {
        const items = yield* client.Count({ to: 1_000_000 }).pipe(Stream.take(5), Stream.runCollect)
        assert.deepStrictEqual(items, [1, 2, 3, 4, 5])
        yield* said("server released Count")
      })))

    it.live("interrupts the handler of a call that is interrupted, and of no other", () =>
      over(Effect.fnUntraced(function*(client) {
        const journal = yield* Journal
        const [one, other] = yield* Effect.forEach(["one", "other"], (id) =>
          Effect.forkChild(client.Never({ id }), { startImmediately: true }))
        yield* Effect.forEach(["one", "other"], (id) =>
          said(`server began ${id}`))
        yield* Fiber.interrupt(one!)
        yield* said("server interrupted one")
        assert.strictEqual(yield* client.Add({ a: 1, b: 2 }), 3)
        assert.notInclude(journal.lines, "server interrupted other")
        yield* Fiber.interrupt(other!)
        yield* said("server interrupted other")
      })))

    it.live("carries headers, of a call and of its surroundings", () =>
      over(Effect.fnUntraced(function*(client) {
        assert.strictEqual(yield* client.WhoAmI(undefined, { headers: { user: "ada" } }), "ada")
        assert.strictEqual(yield* client.WhoAmI().pipe(RpcClient.withHeaders({ user: "bob" })), "bob")
        assert.strictEqual(yield* client.WhoAmI(), "nobody")
      })))

    it.live("carries the trace of the caller", () =>
      over(Effect.fnUntraced(function*(client) {
        yield* Effect.gen(function*() {
          const { traceId } = yield* Effect.currentSpan
          assert.strictEqual(yield* client.TraceId(), traceId)
        }).pipe(Effect.withSpan("caller"))
      })))

    it.live("ends a call that discards its answer when the handler begins", () =>
      over(Effect.fnUntraced(function*(client) {
        yield* client.Wait({ id: "discarded", millis: 200 }, { discard: true })
        yield* said("server began discarded")
        yield* said("server ended discarded")
      })))

    it.live("answers calls while a stream that nobody reads is open", () =>
      over(Effect.fnUntraced(function*(client) {
        const queue = yield* client.Count({ to: 10_000 }, { asQueue: true })
        yield* Queue.take(queue)
        assert.strictEqual(yield* client.Add({ a: 1, b: 2 }), 3)
      })))

    it.live("runs a handler that must not be repeated once", () =>
      over(Effect.fnUntraced(function*(client) {
        const journal = yield* Journal
        assert.strictEqual(yield* client.Charge({ id: "card", millis: 10 }), "server")
        assert.deepStrictEqual(journal.lines, ["server began card", "server ended card"])
      })))
  })
