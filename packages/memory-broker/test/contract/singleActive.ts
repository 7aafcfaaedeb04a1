import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

type Type = "classic" | "quorum"

/** A queue with a single active consumer, and what its consumers got, in order: `A1` is message 1 at consumer A. */
const withQueue = Effect.fnUntraced(function*(type: Type) {
  const { version } = yield* Broker
  const connection = yield* Client.connect()
  const channel = yield* Client.open(connection)
  yield* Client.queue(channel, "q", { "x-queue-type": type, "x-single-active-consumer": true })
  const seen: Array<string> = []
  const attach = Effect.fnUntraced(function*(label: string, prefetch: number, priority?: number) {
    const own = yield* Client.open(connection)
    yield* own.prefetch(prefetch)
    yield* own.consume({
      queue: "q",
      consumerTag: label,
      noAck: false,
      exclusive: false,
      arguments: priority === undefined ? {} : { "x-priority": priority }
    }, { onDelivery: (delivery) => seen.push(label + Client.text(delivery)), onCancel() {} })
    yield* Client.settle
    return {
      ack: (tag: number) => Effect.andThen(Effect.sync(() => own.ackUnsafe(tag, false)), Client.settle),
      nack: (tag: number) => Effect.andThen(Effect.sync(() => own.nackUnsafe(tag, false, true)), Client.settle),
      cancel: Effect.andThen(own.cancel(label), Client.settle),
      close: Effect.andThen(own.close, Client.settle)
    }
  })
  const fill = (...bodies: ReadonlyArray<string>) => Effect.andThen(Client.fill(channel, "q", ...bodies), Client.settle)
  return { attach, fill, version, seen: () => seen.join(" ") }
})

const types: ReadonlyArray<Type> = ["classic", "quorum"]

export const singleActive = suite("single active consumer", {
  ...rows(types, (type) => [
    `closing the channel of the active consumer of a ${type} queue keeps the order`,
    Effect.gen(function*() {
      const { attach, fill, seen } = yield* withQueue(type)
      const a = yield* attach("A", 3)
      yield* fill("1", "2", "3", "4", "5")
      yield* attach("B", 5)
      yield* a.ack(1)
      yield* a.close
      assert.strictEqual(seen(), "A1 A2 A3 A4 B2 B3 B4 B5")
    })
  ]),
  "cancelling the active consumer of a quorum queue activates the next at once, ahead of what is still out": Effect.gen(
    function*() {
      const { attach, fill, seen } = yield* withQueue("quorum")
      const a = yield* attach("A", 3)
      yield* fill("1", "2", "3", "4", "5")
      const b = yield* attach("B", 3)
      yield* a.cancel
      assert.strictEqual(seen(), "A1 A2 A3 B4 B5")
      yield* a.close
      yield* b.ack(1)
      yield* b.ack(2)
      assert.strictEqual(seen(), "A1 A2 A3 B4 B5 B1 B2 B3")
    }
  ),
  "cancelling the active consumer of a classic queue activates the next at once since 4.0, at the next return before":
    Effect.gen(function*() {
      const { attach, fill, seen, version } = yield* withQueue("classic")
      const a = yield* attach("A", 3)
      yield* fill("1", "2", "3", "4", "5")
      const b = yield* attach("B", 3)
      yield* a.cancel
      assert.strictEqual(seen(), version < 4 ? "A1 A2 A3" : "A1 A2 A3 B4 B5")
      yield* a.close
      for (const tag of [1, 2, 3]) yield* b.ack(tag)
      assert.strictEqual(seen(), version < 4 ? "A1 A2 A3 B1 B2 B3 B4 B5" : "A1 A2 A3 B4 B5 B1 B2 B3")
    }),
  "a quorum queue hands over to a consumer of higher priority since 4.0, once the active one has settled what it has":
    Effect.gen(function*() {
      const { attach, fill, seen, version } = yield* withQueue("quorum")
      yield* fill("1", "2", "3", "4")
      const a = yield* attach("A", 2)
      yield* attach("B", 2, 5)
      yield* a.ack(1)
      assert.strictEqual(seen(), version < 4 ? "A1 A2 A3" : "A1 A2")
      yield* a.ack(2)
      assert.strictEqual(seen(), version < 4 ? "A1 A2 A3 A4" : "A1 A2 B3 B4")
    }),
  "a quorum queue hands over at once since 4.0 where the active consumer has nothing": Effect.gen(function*() {
    const { attach, fill, seen, version } = yield* withQueue("quorum")
    yield* attach("A", 2)
    yield* attach("B", 2, 5)
    yield* fill("1")
    assert.strictEqual(seen(), version < 4 ? "A1" : "B1")
  }),
  "what the active consumer gives back while it hands over goes to the next": Effect.gen(function*() {
    const { attach, fill, seen, version } = yield* withQueue("quorum")
    const a = yield* attach("A", 2)
    yield* fill("1", "2", "3")
    yield* attach("B", 5, 5)
    if (version < 4) return
    yield* a.nack(1)
    yield* a.ack(2)
    assert.strictEqual(seen(), "A1 A2 B1 B3")
  }),
  "a hand-over goes on where the consumer of higher priority leaves, and comes back to the active one": Effect.gen(
    function*() {
      const { attach, fill, seen, version } = yield* withQueue("quorum")
      const a = yield* attach("A", 2)
      yield* fill("1", "2", "3", "4")
      const b = yield* attach("B", 2, 5)
      yield* b.cancel
      yield* a.ack(1)
      assert.strictEqual(seen(), version < 4 ? "A1 A2 A3" : "A1 A2")
      yield* a.ack(2)
      assert.strictEqual(seen(), "A1 A2 A3 A4")
    }
  ),
  ...rows(types, (type) => [
    `a consumer of equal priority waits for the active one of a ${type} queue`,
    Effect.gen(function*() {
      const { attach, fill, seen } = yield* withQueue(type)
      const a = yield* attach("A", 1, 5)
      yield* fill("1", "2")
      yield* attach("B", 1, 5)
      yield* a.ack(1)
      assert.strictEqual(seen(), "A1 A2")
    })
  ]),
  "a classic queue does not hand over": Effect.gen(function*() {
    const { attach, fill, seen } = yield* withQueue("classic")
    yield* fill("1", "2", "3")
    const a = yield* attach("A", 2)
    yield* attach("B", 2, 5)
    yield* a.ack(1)
    assert.strictEqual(seen(), "A1 A2 A3")
  }),
  "the next active consumer of a quorum queue is that of the highest priority since 4.0, and the first before": Effect
    .gen(function*() {
      const { attach, fill, seen, version } = yield* withQueue("quorum")
      const a = yield* attach("A", 1, 9)
      yield* attach("B", 1, 0)
      yield* attach("C", 1, 5)
      yield* fill("1", "2", "3")
      yield* a.cancel
      assert.strictEqual(seen(), version < 4 ? "A1 B2" : "A1 C2")
    })
})
