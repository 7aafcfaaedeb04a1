import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { settled } from "effect-amqp-test-rig/VirtualTime"
import { logging, onMemory, ready, send, work } from "../support/Consuming.ts"

const lossy = AmqpTopology.queue("lossy", { type: "quorum" })

const onLossy = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  test.pipe(
    Effect.scoped,
    Effect.provide(
      AmqpPublisher.layer().pipe(
        Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(lossy))),
        Layer.provideMerge(AmqpConnection.layer()),
        Layer.provideMerge(AmqpMemory.layer)
      )
    )
  )

const sendLossy = Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publish({ routingKey: "lossy", body: "payment", messageId: "payment-1" })
  yield* settled
})

/** What is logged, with what is said about it. */
const said = (lines: Array<string>) =>
  Logger.layer([Logger.make(({ message }) => {
    lines.push(
      (Array.isArray(message) ? message : [message]).map((part) =>
        typeof part === "string" ? part : JSON.stringify(part)
      ).join(" ")
    )
  })])

describe("a queue without a dead letter exchange", () => {
  it.effect("is named when its consumer attaches and at each drop, which counts as dropped", () => {
    const lines: Array<string> = []
    return onLossy(Effect.gen(function*() {
      const consumer = yield* AmqpConsumer.make(lossy, () => Effect.fail("database is down"))
      assert.isTrue(lines.some((line) => line.startsWith("AMQP consumer drops messages whose handler fails")))
      yield* sendLossy
      assert.deepInclude(yield* consumer.counts, { dropped: 1, deadLettered: 0 })
      const drop = lines.find((line) => line.startsWith("AMQP message dropped"))
      assert.include(drop, "payment-1")
      assert.include(drop, "lossy")
    })).pipe(Effect.provide(said(lines)))
  })

  it.effect("drops in silence what its program says it may", () => {
    const lines: Array<string> = []
    return onLossy(Effect.gen(function*() {
      const consumer = yield* AmqpConsumer.make(lossy, () => AmqpConsumer.drop, { onFailure: "drop" })
      yield* sendLossy
      assert.deepInclude(yield* consumer.counts, { dropped: 1 })
      assert.isFalse(lines.some((line) => line.includes("drop")))
    })).pipe(Effect.provide(said(lines)))
  })

  it.effect("is not feared where a policy of the broker has one", () => {
    const lines: Array<string> = []
    return onLossy(Effect.gen(function*() {
      const consumer = yield* AmqpConsumer.make(lossy, () => Effect.fail("no"), { deadLetters: true })
      yield* sendLossy
      assert.deepInclude(yield* consumer.counts, { dropped: 0, deadLettered: 1 })
      assert.isFalse(lines.some((line) => line.includes("drop")))
    })).pipe(Effect.provide(said(lines)))
  })

  it.effect("may be what a name stands for, and a refusal says so", () => {
    const lines: Array<string> = []
    return onLossy(Effect.gen(function*() {
      yield* AmqpConsumer.make("lossy", () => Effect.fail("no"))
      yield* sendLossy
      assert.isTrue(lines.some((line) => line.includes("unless its queue has a dead letter exchange")))
    })).pipe(Effect.provide(said(lines)))
  })
})

describe("a dead letter target that does not exist", () => {
  const targets = [
    ["exchange", { deadLetterExchange: "missing" }],
    ["queue", { deadLetterExchange: "", deadLetterRoutingKey: "missing" }]
  ] as const
  it.effect.each(targets)(
    "is named when the consumer attaches, and what is lost counts as dropped: %s",
    ([kind, to]) => {
      const lines: Array<string> = []
      const broken = AmqpTopology.queue("broken", to)
      return onLossy(Effect.gen(function*() {
        yield* AmqpTopology.declare(AmqpTopology.make(broken))
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* publisher.publish({ routingKey: "broken", body: "payment", messageId: "payment-1" })
        const consumer = yield* AmqpConsumer.make(broken, () => Effect.fail("database is down"))
        yield* settled
        assert.deepInclude(yield* consumer.counts, { dropped: 1, deadLettered: 0 })
        assert.isTrue(
          lines.some((line) =>
            line.startsWith(`AMQP consumer drops what it refuses: the dead letter ${kind}`) && line.includes("missing")
          )
        )
        assert.include(
          lines.find((line) => line.startsWith("AMQP message dropped")),
          "payment-1"
        )
      })).pipe(Effect.provide(said(lines)))
    }
  )

  it.effect("is not feared where the consumer says that its dead letters are kept", () => {
    const lines: Array<string> = []
    const broken = AmqpTopology.queue("broken", { deadLetterExchange: "missing" })
    return onLossy(Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(broken))
      yield* AmqpConsumer.make(broken, () => Effect.void, { deadLetters: true })
      yield* settled
      assert.isFalse(lines.some((line) => line.startsWith("AMQP consumer drops")))
    })).pipe(Effect.provide(said(lines)))
  })
})

describe("a handler's own decision", () => {
  for (
    const [name, decision, expected] of [
      ["giveBack", AmqpConsumer.giveBack, { givenBack: 1 }],
      ["deadLetter", AmqpConsumer.deadLetter, { deadLettered: 1 }],
      ["drop", AmqpConsumer.drop, { dropped: 1 }]
    ] as const
  ) {
    it.effect(`${name} is counted, without a warning and without asking the policy`, () => {
      const lines: Parameters<typeof logging>[0] = []
      return onMemory(Effect.gen(function*() {
        let runs = 0
        const consumer = yield* AmqpConsumer.make(
          work,
          () => Effect.suspend(() => runs++ === 0 ? decision : Effect.void),
          { onFailure: () => assert.fail("the policy was asked") }
        )
        yield* send("a")
        assert.deepInclude(yield* consumer.counts, expected)
        assert.strictEqual(yield* ready("dead"), name === "giveBack" ? 0 : 1)
        assert.isFalse(lines.some(({ message }) => message.includes("failed") || message.includes("dropped")))
      })).pipe(Effect.provide(logging(lines)))
    })
  }
})

describe("a batch", () => {
  it.effect("may have an outcome for each message, so that one bad message of ten costs one", () =>
    onMemory(Effect.gen(function*() {
      const handled: Array<string> = []
      yield* Effect.forkScoped(AmqpConsumer.runBatch(
        work,
        AmqpConsumer.each((delivery) =>
          Effect.flatMap(
            delivery.text,
            (text) => text === "5" ? Effect.fail("poison") : Effect.sync(() => handled.push(text))
          )
        ),
        { size: 10 }
      ))
      yield* settled
      yield* send(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
      assert.strictEqual(handled.length, 9)
      assert.deepStrictEqual([yield* ready("work"), yield* ready("dead")], [0, 1])
    })))
})
