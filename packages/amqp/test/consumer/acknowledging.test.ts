import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Latch, Layer, Scope, Stream } from "effect"
import type { AmqpDriver } from "effect-amqp"
import { AmqpConsumer, CurrentDriver } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import type { Delivery } from "effect-amqp/AmqpDelivery"
import { onMemory, ready, send, work } from "../support/Consuming.ts"

/** Notes each acknowledgement that is written: its tag, and `…` in front of it where it is for all up to that. */
const noting = (written: Array<string>) => (driver: AmqpDriver.AmqpDriver): AmqpDriver.AmqpDriver => ({
  name: driver.name,
  connect: (options, events) =>
    Effect.map(driver.connect(options, events), (connection) => ({
      ...connection,
      openChannel: (options, events) =>
        Effect.map(connection.openChannel(options, events), (channel) => ({
          ...channel,
          ackUnsafe(tag, multiple) {
            const isWritten = channel.ackUnsafe(tag, multiple)
            if (isWritten) written.push(`${multiple ? "…" : ""}${tag}`)
            return isWritten
          }
        }))
    }))
})

const noted = <A, E, R>(written: Array<string>, test: Effect.Effect<A, E, R>) =>
  onMemory(
    test,
    Layer.provideMerge(
      Layer.effect(CurrentDriver.CurrentDriver, Effect.map(CurrentDriver.CurrentDriver, noting(written))),
      AmqpMemory.layer
    )
  )

/** The messages that are out at this moment. */
const out = Effect.flatMap(
  AmqpMemory.AmqpMemory,
  (broker) => Effect.map(broker.queue("work"), (queue) => queue?.unacked)
)

const nothing = () => Effect.void

describe("the acknowledgements of a consumer", () => {
  it.effect("leave at once when none has left lately", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        yield* AmqpConsumer.make(work, nothing)
        for (const tag of [1, 2, 3]) {
          yield* send(tag)
          assert.deepStrictEqual([written.splice(0), yield* out], [[`${tag}`], 0])
          yield* pass(5)
        }
      })
    )
  })

  it.effect("leave together within 5 milliseconds, and no sooner, after one that has left", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        yield* AmqpConsumer.make(work, nothing)
        yield* send("a", "b", "c", "d")
        assert.deepStrictEqual([written, yield* out], [["1"], 3])
        yield* pass(4)
        assert.deepStrictEqual([written, yield* out], [["1"], 3])
        yield* pass(1)
        assert.deepStrictEqual([written, yield* out], [["1", "…4"], 0])
        // From when those have left, and not from when they came.
        yield* send("e", "f")
        yield* pass(4)
        assert.deepStrictEqual([written, yield* out], [["1", "…4"], 2])
        yield* pass(1)
        assert.deepStrictEqual([written, yield* out], [["1", "…4", "…6"], 0])
      })
    )
  })

  it.effect("wait for no time when a quarter of the prefetch is due, so that the broker has more to send", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        yield* AmqpConsumer.make(work, nothing, { prefetch: 8 })
        yield* send(...Array.from({ length: 9 }, (_, index) => index))
        assert.deepStrictEqual(written, ["1", "…3", "…5", "…7", "…9"])
      })
    )
  })

  it.effect("leave one by one at a prefetch of 1, and the next message comes without time passing", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        yield* AmqpConsumer.make(work, nothing, { prefetch: 1 })
        yield* send("a", "b", "c", "d")
        assert.deepStrictEqual([written, yield* out, yield* ready("work")], [["1", "2", "3", "4"], 0, 0])
      })
    )
  })

  it.effect("that are put off include no message whose handler still runs", () => {
    const written: Array<string> = []
    const gate = Latch.makeUnsafe(false)
    return noted(
      written,
      Effect.gen(function*() {
        yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.flatMap(delivery.text, (text) => text === "slow" ? gate.await : Effect.void),
          { concurrency: 10 }
        )
        yield* send("a", "b", "c", "slow", "d")
        yield* pass(5)
        assert.deepStrictEqual([written, yield* out], [["1", "…3", "5"], 1])
        yield* gate.open
        yield* settled
        yield* pass(5)
        assert.deepStrictEqual([written, yield* out], [["1", "…3", "5", "4"], 0])
      })
    )
  })

  it.effect("that are put off leave when the scope ends, which does not wait for their time", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(AmqpConsumer.make(work, nothing), scope)
        yield* send("a", "b", "c")
        assert.deepStrictEqual([written, yield* out], [["1"], 2])
        const end = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* settled
        assert.isDefined(end.pollUnsafe())
        assert.deepStrictEqual([written, yield* out, yield* ready("work")], [["1", "…3"], 0, 0])
      })
    )
  })

  it.effect("that are put off leave when the consumer is paused", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make(work, nothing)
        yield* send("a", "b", "c")
        const pausing = yield* Effect.forkChild(consumer.pause, { startImmediately: true })
        yield* settled
        assert.isDefined(pausing.pollUnsafe())
        assert.deepStrictEqual([written, yield* out, yield* ready("work")], [["1", "…3"], 0, 0])
      })
    )
  })

  it.effect("that are put off are written on no other channel: their messages come again, and count once", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const seen: Array<string> = []
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.map(delivery.text, (text) => seen.push(`${text} ${delivery.redelivered}`))
        )
        yield* send("a", "b", "c")
        yield* broker.cutConnections
        yield* pass(5000)
        assert.deepStrictEqual(seen, ["a false", "b false", "c false", "b true", "c true"])
        assert.deepStrictEqual([written[0], yield* out, yield* ready("work")], ["1", 0, 0])
        assert.deepInclude(yield* consumer.counts, { delivered: 5, acked: 3, stale: 2 })
      })
    )
  })

  it.effect("of a consumer that goes on after a pause include no message whose handler runs since before", () => {
    const written: Array<string> = []
    const gate = Latch.makeUnsafe(false)
    return noted(
      written,
      Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.flatMap(delivery.text, (text) => text === "slow" ? gate.await : Effect.void),
          { concurrency: 2 }
        )
        yield* send("slow")
        yield* consumer.pause
        yield* consumer.resume
        yield* send("a", "b", "c")
        yield* pass(5)
        assert.deepStrictEqual([written, yield* out], [["2", "3", "4"], 1])
        yield* gate.open
        yield* pass(5)
        assert.deepStrictEqual([written, yield* out, yield* ready("work")], [["2", "3", "4", "1"], 0, 0])
      })
    )
  })

  it.effect("that are put off count as stale where the channel takes no frames any more", () => {
    let takesFrames = true
    const deaf = (driver: AmqpDriver.AmqpDriver): AmqpDriver.AmqpDriver => ({
      name: driver.name,
      connect: (options, events) =>
        Effect.map(driver.connect(options, events), (connection) => ({
          ...connection,
          openChannel: (options, events) =>
            Effect.map(connection.openChannel(options, events), (channel) => ({
              ...channel,
              ackUnsafe: (tag, multiple) => takesFrames && channel.ackUnsafe(tag, multiple)
            }))
        }))
    })
    return onMemory(
      Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make(work, nothing)
        yield* send("a", "b", "c")
        takesFrames = false
        yield* pass(5)
        assert.deepInclude(yield* consumer.counts, { delivered: 3, acked: 1, stale: 2 })
      }),
      Layer.provideMerge(
        Layer.effect(CurrentDriver.CurrentDriver, Effect.map(CurrentDriver.CurrentDriver, deaf)),
        AmqpMemory.layer
      )
    )
  })

  it.effect("that a reader of a stream writes are for all up to it, unless a message below is still open", () => {
    const written: Array<string> = []
    return noted(
      written,
      Effect.gen(function*() {
        yield* send("a", "b", "c", "d", "e")
        const open: Array<Delivery> = []
        yield* AmqpConsumer.stream(work).pipe(
          Stream.take(5),
          Stream.runForEach((delivery) => {
            open.push(delivery)
            // The second one stays open until the fourth is acknowledged.
            if (delivery.deliveryTag === 2) return Effect.void
            const acknowledged = delivery.deliveryTag === 4 ? [delivery, open[1]!] : [delivery]
            return Effect.forEach(acknowledged, (one) => one.ack(), { discard: true })
          })
        )
        assert.deepStrictEqual([written, yield* out], [["…1", "3", "4", "…2", "…5"], 0])
      })
    )
  })
})
