import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpStream, AmqpTopology, OffsetStore } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { makeStore } from "../support/Reading.ts"

/** Keeps its last 20 messages or so, in segments of 5. */
const short = AmqpTopology.queue("short", { type: "stream", maxLengthBytes: 20_000, maxSegmentBytes: 5000 })

interface Warning {
  readonly text: string
  readonly details: Readonly<Record<string, unknown>>
}

/** Runs a test over a store of offsets, and gives it the warnings that are logged. */
const onMemory = <A, E, R>(
  offsets: Readonly<Record<string, number>>,
  test: (warnings: ReadonlyArray<Warning>) => Effect.Effect<A, E, R>
) => {
  const warnings: Array<Warning> = []
  return test(warnings).pipe(
    Effect.scoped,
    Effect.provideService(OffsetStore.OffsetStore, makeStore(offsets)),
    Effect.provide(
      AmqpPublisher.layer().pipe(
        Layer.provide(Layer.fresh(AmqpConnection.layer({ endpoints: "amqp://publisher" }))),
        Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(short))),
        Layer.provideMerge(AmqpConnection.layer({ connectionName: "reader" })),
        Layer.provideMerge(AmqpMemory.layer),
        Layer.provideMerge(Logger.layer([
          Logger.make(({ logLevel, message }) => {
            const [text, details] = Array.isArray(message) ? message : [message]
            if (logLevel === "Warn" && String(text).includes("dropped messages before")) {
              warnings.push({ text, details })
            }
          })
        ]))
      )
    ),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )
}

const append = (from: number, count: number, headers: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    for (let i = from; i < from + count; i++) {
      yield* publisher.publish({ routingKey: "short", headers, body: String(i).padEnd(1000) })
    }
    yield* settled
  })

const read = (
  handled: Array<number>,
  options: Partial<AmqpStream.Options<never>> & { readonly millis?: number } = {}
) => {
  const { millis, ...rest } = options
  return AmqpStream.make(short, ({ body }) =>
    Effect.gen(function*() {
      if (millis !== undefined) yield* Effect.sleep(millis)
      handled.push(Number(Buffer.from(body).toString()))
    }), { group: "billing", ...rest })
}

const counted = Effect.map(Metric.snapshot, (metrics) => {
  const found = metrics.find(({ id }) => id === "amqp_stream_missed")
  assert.deepStrictEqual(found?.attributes, found && { stream: "short", group: "billing" })
  return found?.type === "Counter" ? Number(found.state.count) : 0
})

describe("a group whose messages the stream has dropped before it read them", () => {
  it.effect("is told from where to where, when it comes back", () =>
    onMemory({ "billing short": 3 }, (warnings) =>
      Effect.gen(function*() {
        const handled: Array<number> = []
        yield* append(0, 60)
        yield* read(handled)
        yield* pass(1000)
        assert.isAbove(handled[0]!, 3)
        assert.strictEqual(handled.at(-1), 59)
        assert.strictEqual(warnings.length, 1)
        const { details, text } = warnings[0]!
        assert.strictEqual(
          text,
          "AMQP stream dropped messages before its group had read them: keep them longer, or read faster"
        )
        const missedAtMost = (details["firstLeft"] as number) - 3
        assert.deepStrictEqual(details, {
          stream: "short",
          group: "billing",
          offset: 3,
          firstLeft: details["firstLeft"],
          missedAtMost
        })
        assert.isAtLeast(missedAtMost, handled[0]! - 3)
        assert.strictEqual(yield* counted, missedAtMost)
      })))

  it.effect("is told while it stands there, and reads too slowly", () =>
    onMemory({}, (warnings) =>
      Effect.gen(function*() {
        const handled: Array<number> = []
        yield* append(0, 10)
        yield* read(handled, { prefetch: 2, millis: 1000 })
        yield* pass(1500, 100)
        yield* append(10, 60)
        yield* pass(60_000)
        assert.strictEqual(handled.at(-1), 69)
        assert.isBelow(handled.length, 70)
        assert.strictEqual(warnings.length, 1)
        const jump = handled.findIndex((number, at) => at > 0 && number !== handled[at - 1]! + 1)
        assert.isAtLeast(yield* counted, handled[jump]! - handled[jump - 1]! - 1)
      })))

  it.effect("is told when it comes back after a lost connection", () =>
    onMemory({}, (warnings) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const handled: Array<number> = []
        yield* append(0, 3)
        yield* read(handled)
        yield* pass(1000)
        assert.deepStrictEqual(handled, [0, 1, 2])
        yield* broker.setEndpoint({ host: "localhost" }, "refuses")
        yield* broker.cutConnection("reader")
        yield* append(3, 60)
        yield* broker.setEndpoint({ host: "localhost" }, "answers")
        yield* pass(60_000)
        assert.isAbove(handled[3]!, 3)
        assert.strictEqual(handled.at(-1), 62)
        assert.deepStrictEqual(warnings.map(({ details }) => details["offset"]), [3])
      })))

  it.effect("may be told too much when it filters, and is told so", () =>
    onMemory({ "billing short": 3 }, (warnings) =>
      Effect.gen(function*() {
        const handled: Array<number> = []
        yield* append(0, 30, { "x-stream-filter-value": "de" })
        yield* append(30, 30, { "x-stream-filter-value": "fr" })
        yield* read(handled, { filter: "fr" })
        yield* pass(20_000)
        assert.strictEqual(handled.at(-1), 59)
        assert.strictEqual(warnings.length, 1)
        assert.include(warnings[0]!.text, "and perhaps some that its filter wants")
      })))
})

describe("a group that has missed nothing is told nothing", () => {
  it.effect("when it begins, wherever that is", () =>
    Effect.forEach(
      ["first", "last", "next", new Date(0), 0, 3] as const,
      (from) =>
        onMemory({}, (warnings) =>
          Effect.gen(function*() {
            const handled: Array<number> = []
            yield* append(0, 60)
            yield* read(handled, { from })
            yield* append(60, 5)
            yield* pass(20_000)
            assert.strictEqual(handled.at(-1), 64)
            assert.deepStrictEqual(warnings, [], String(from))
            assert.strictEqual(yield* counted, 0)
          }))
    ))

  it.effect("when all that was dropped is what it has read, though its offset is that of no message", () => {
    /** Reads what is left from an offset, and tells what was missed. */
    const from = (before: number | undefined) =>
      onMemory(before === undefined ? {} : { "billing short": before }, (warnings) =>
        Effect.gen(function*() {
          const offsets: Array<number> = []
          yield* append(0, 60)
          yield* AmqpStream.make(short, (delivery) => Effect.sync(() => offsets.push(AmqpStream.offsetOf(delivery)!)), {
            group: "billing"
          })
          yield* pass(1000)
          return { first: offsets[0]!, missed: warnings.map(({ details }) => details["missedAtMost"]) }
        }))
    return Effect.gen(function*() {
      const { first } = yield* from(undefined)
      assert.isAbove(first, 20)
      assert.deepStrictEqual(yield* from(first), { first, missed: [] })
      assert.deepStrictEqual(yield* from(first - 1), { first, missed: [] })
      assert.deepStrictEqual(yield* from(first - 2), { first, missed: [2] })
    })
  })

  it.effect("when what it did not get is what it does not want", () =>
    onMemory({ "billing short": 0 }, (warnings) =>
      Effect.gen(function*() {
        const handled: Array<number> = []
        yield* append(0, 8, { "x-stream-filter-value": "de" })
        yield* append(8, 1, { "x-stream-filter-value": "fr" })
        yield* read(handled, { filter: "fr" })
        yield* pass(20_000)
        assert.deepStrictEqual(handled, [8])
        assert.deepStrictEqual(warnings, [])
      })))
})
