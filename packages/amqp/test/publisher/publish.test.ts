import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { AmqpChannel, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { begin, depth, paid, publish } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher.publish", () => {
  it.effect("succeeds when the broker has confirmed, and the message is in the queue", () =>
    Effect.gen(function*() {
      yield* publish(paid({ id: 42 }))
      assert.strictEqual(yield* depth(), 1)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("is persistent, mandatory, typed by its body and identified, unless told otherwise", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* publish(paid({ id: 42 }))
      yield* publish(paid("text", { persistent: false, messageId: "mine", contentType: "text/csv" }))
      yield* publish(paid(new Uint8Array([1, 2])))
      const first = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
      assert.deepInclude(first.properties, { deliveryMode: 2, contentType: "application/json" })
      assert.isString(first.messageId)
      assert.strictEqual(yield* first.text, `{"id":42}`)
      const second = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
      assert.deepInclude(second.properties, { deliveryMode: 1, contentType: "text/csv", messageId: "mine" })
      const third = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
      assert.isUndefined(third.properties.contentType)
      assert.deepStrictEqual([...third.body], [1, 2])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("sends the bytes of an ArrayBuffer and of any view of one", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const { buffer } = new Uint8Array([1, 2, 3, 4])
      for (const body of [buffer, new DataView(buffer, 1, 2)]) {
        yield* publish(paid(body))
        const delivery = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
        assert.deepStrictEqual([...delivery.body], body === buffer ? [1, 2, 3, 4] : [2, 3])
        assert.isUndefined(delivery.properties.contentType)
      }
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("fails with Unroutable, and not published, when no queue is bound; its neighbours succeed", () =>
    Effect.gen(function*() {
      const results = yield* Effect.forEach(
        Array.from({ length: 60 }, (_, i) => i),
        (i) => Effect.result(publish(paid(i, { routingKey: i % 3 === 0 ? "nobody" : "paid" }))),
        { concurrency: "unbounded" }
      )
      for (const [i, result] of results.entries()) {
        if (i % 3 !== 0) assert.isTrue(Result.isSuccess(result), `message ${i} was routed, and must be confirmed`)
        else if (Result.isFailure(result)) {
          assert.deepInclude(result.failure.reason, { _tag: "Unroutable", published: "no", routingKey: "nobody" })
        } else assert.fail(`message ${i} was unroutable, and must not be confirmed`)
      }
      assert.strictEqual(yield* depth(), 40)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("with mandatory: false is confirmed although no queue is bound", () =>
    publish(paid("x", { routingKey: "nobody", mandatory: false })).pipe(Effect.provide(Virtual.layer())))

  it.effect("with the same messageId twice, the return is attributed to the one that was returned", () =>
    Effect.gen(function*() {
      const results = yield* Effect.forEach(
        ["paid", "nobody", "paid"],
        (routingKey) => Effect.result(publish(paid("x", { routingKey, messageId: "same" }))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(results.map(Result.isSuccess), [true, false, true])
    }).pipe(Effect.provide(Virtual.layer())))

  const unbind = AmqpTopology.make(Virtual.orders, AmqpTopology.unbind(Virtual.invoices, Virtual.orders, "paid"))
  it.effect.each(
    [
      ["the second came back", [true, false], ["unknown", "unknown"]],
      ["the first came back before the second was written", [false, true], ["no"]],
      ["all came back", [false, false, false], ["no", "no", "no"]],
      ["none came back", [true, true], []]
    ] as const
  )(
    "of messages that look alike, none that came back is confirmed: %s",
    ([, isBound, published]) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        const publishing = yield* Effect.forEach(isBound, (bound) =>
          Effect.andThen(
            AmqpTopology.declare(bound ? Virtual.topology : unbind),
            begin(Effect.result(publish(paid("x", { messageId: "same" }))))
          ))
        yield* broker.releaseConfirms
        const results = yield* Effect.forEach(publishing, Fiber.join)
        const reasons = results.flatMap((result) => Result.isFailure(result) ? [result.failure.reason] : [])
        assert.deepStrictEqual(reasons.map(({ published }) => published), [...published])
        for (const reason of reasons) assert.strictEqual(reason._tag, "Unroutable")
      }).pipe(Effect.provide(Virtual.layer()), Effect.scoped)
  )

  it.effect.each(
    [["the same", "same"], ["an empty", ""], ["a cut", "caf\ufffd"]] as const
  )(
    "an unroutable message with %s id fails as Unroutable, and no other does",
    ([, messageId]) =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const batch = ["paid", "nobody", "paid", "nobody", "paid"].map((routingKey) =>
          paid("x", { routingKey, messageId })
        )
        const publishing = yield* begin(Effect.flip(publisher.publishAll(batch)))
        const { failures } = yield* Fiber.join(publishing)
        assert.deepStrictEqual(failures.map(({ error, index }) => [index, error.reason._tag]), [
          [1, "Unroutable"],
          [3, "Unroutable"]
        ])
      }).pipe(Effect.provide(Virtual.layer()))
  )
})
