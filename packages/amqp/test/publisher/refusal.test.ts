import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Exit, Fiber, Layer, Redacted, Result, Schedule, Scope } from "effect"
import { AmqpChannel, AmqpPublisher, AmqpTopology } from "effect-amqp"
import type { PublishError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { begin, depth, paid, publish, reason } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("AmqpPublisher when the broker refuses", () => {
  it.effect("a nacked message is published again on a fresh channel", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.nackConfirms(2)
      const publishing = yield* begin(publish(paid("x")))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(publishing)
      assert.strictEqual((yield* broker.published).length, 3)
      assert.strictEqual(yield* depth(), 1)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("a message that is nacked every time fails with Nacked", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.nackConfirms(100)
      const publishing = yield* begin(reason(publish(paid("x"))))
      yield* TestClock.adjust("4 seconds")
      assert.deepInclude(yield* Fiber.join(publishing), { _tag: "Nacked", published: "unknown", times: 4 })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("retryNacked: Schedule.recurs(0) fails it at the first nack", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.nackConfirms(1)
      assert.deepInclude(yield* reason(publish(paid("x"))), { _tag: "Nacked", times: 1 })
    }).pipe(Effect.provide(Virtual.layer({ publisher: { retryNacked: Schedule.recurs(0) } }))))

  it.effect("a channel that has nacked what is not tried again is replaced, at most once a second", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      /** Counts what the broker handles for a message that is nacked, and one that is not. */
      const cost = Effect.gen(function*() {
        yield* broker.nackConfirms(1)
        const before = yield* broker.operations
        assert.deepInclude(yield* reason(publish(paid("x"))), { _tag: "Nacked", times: 1 })
        const next = yield* begin(publish(paid("y")))
        yield* TestClock.adjust(10)
        yield* Fiber.join(next)
        return (yield* broker.operations) - before
      })
      yield* publish(paid("first"))
      assert.strictEqual(yield* cost, 2)
      yield* TestClock.adjust("1 second")
      // The channel is closed, and another one is opened.
      assert.strictEqual(yield* cost, 4)
      assert.strictEqual(yield* cost, 2)
      assert.strictEqual(yield* depth(), 4)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { retryNacked: Schedule.recurs(0) } }))))

  it.effect("retryNacked, which is the application's, runs when the driver's callback is over", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Effect.scope
      let look = Effect.succeed<AmqpPublisher.PublisherCounts | undefined>(undefined)
      const seen: Array<AmqpPublisher.PublisherCounts | undefined> = []
      const retryNacked = Schedule.recurs(1).pipe(
        Schedule.map(() => Effect.map(look, (counts) => seen.push(counts)))
      )
      const context = yield* Layer.buildWithScope(Virtual.application({ publisher: { retryNacked } }), scope)
      const publisher = Context.get(context, AmqpPublisher.AmqpPublisher)
      look = publisher.counts
      yield* broker.nackConfirms(2)
      const publishing = yield* begin(publisher.publishAll([paid(1), paid(2)]))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(publishing)
      assert.deepStrictEqual(seen.map((counts) => counts?.inFlight), [0, 0])
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("at its deadline a refused message says that it was to be sent again", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.nackConfirms(1)
      const publishing = yield* begin(reason(publish(paid("x"))))
      yield* TestClock.adjust("5 seconds")
      assert.deepInclude(yield* Fiber.join(publishing), { _tag: "ConfirmTimeout", waitingFor: "retry" })
    }).pipe(Effect.provide(Virtual.layer({ publisher: { retryNacked: Schedule.spaced("1 minute") } }))))

  it.effect("nothing holds a refused message longer than until its deadline", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const clock = yield* Clock.Clock
      const asleep = new Set<Duration.Duration>()
      const observed: Clock.Clock = {
        ...clock,
        sleep: (duration) =>
          Effect.acquireUseRelease(
            Effect.sync(() => asleep.add(duration)),
            () => clock.sleep(duration),
            () => Effect.sync(() => asleep.delete(duration))
          )
      }
      const publisher = yield* Effect.provideService(
        AmqpPublisher.make({ retryNacked: Schedule.spaced("1 minute") }),
        Clock.Clock,
        observed
      )
      yield* broker.nackConfirms(1)
      const publishing = yield* begin(Effect.flip(publisher.publish(paid("x"))))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(publishing)
      yield* Virtual.settle
      assert.deepStrictEqual([...asleep], [])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("a queue that refuses all its messages costs those of other queues no deadline", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const full = AmqpTopology.queue("full", { maxLength: 1, overflow: "reject-publish" })
      yield* AmqpTopology.declare(AmqpTopology.make(full))
      const publisher = yield* AmqpPublisher.make({ confirmTimeout: "500 millis" })
      const others: Array<Fiber.Fiber<void, PublishError.PublishError>> = []
      for (let round = 0; round < 30; round++) {
        yield* begin(Effect.exit(publisher.publish({ routingKey: full.name, body: round })))
        others.push(yield* begin(publisher.publish(paid(round))))
        yield* TestClock.adjust("100 millis")
      }
      yield* TestClock.adjust("500 millis")
      assert.isAbove((yield* broker.published).filter(({ routingKey }) => routingKey === full.name).length, 31)
      for (const other of others) yield* Fiber.join(other)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("with unconfirmed: \"fail\" a refused message costs no neighbour its confirm", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.nackConfirms(1)
      const refused = yield* begin(publish(paid(1)))
      yield* broker.delayConfirms("2 seconds")
      const neighbour = yield* begin(publish(paid(2)))
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(neighbour)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(refused)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { unconfirmed: "fail" } }))))

  it.effect("a missing exchange fails the messages that named it, and no other", () =>
    Effect.gen(function*() {
      const publishing = yield* begin(Effect.forEach(
        Array.from({ length: 200 }, (_, i) => i),
        (i) => Effect.result(publish(i === 100 ? { exchange: "missing", routingKey: "x", body: i } : paid(i))),
        { concurrency: "unbounded" }
      ))
      yield* TestClock.adjust("1 second")
      const results = yield* Fiber.join(publishing)
      const failed = results.flatMap((result, i) => Result.isFailure(result) ? [[i, result.failure] as const] : [])
      assert.deepStrictEqual(failed.map(([i]) => i), [100])
      assert.deepInclude(failed[0]![1].reason, {
        _tag: "ExchangeNotFound",
        exchange: "missing",
        published: "no"
      })
    }).pipe(Effect.provide(Virtual.layer())))

  for (
    const [what, tag] of [["a missing exchange", "ExchangeNotFound"], [
      "an internal exchange",
      "AccessRefused"
    ]] as const
  ) {
    it.effect(`messages that go on naming ${what} fail alone, and take no other with them`, () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const channel = yield* AmqpChannel.AmqpChannel
        if (tag === "AccessRefused") {
          yield* channel.declareExchange({ name: "wrong", type: "fanout", internal: true })
        }
        yield* broker.setLatency("5 millis")
        const wrong: Array<Fiber.Fiber<PublishError.PublishErrorReason, void>> = []
        const right: Array<Fiber.Fiber<void, PublishError.PublishError>> = []
        for (let round = 0; round < 50; round++) {
          wrong.push(yield* begin(reason(publish({ exchange: "wrong", routingKey: "x", body: round }))))
          for (let i = 0; i < 3; i++) right.push(yield* begin(publish(paid(round))))
          yield* TestClock.adjust("20 millis")
        }
        yield* TestClock.adjust("200 millis")
        yield* broker.setLatency(0)
        for (const fiber of right) yield* Fiber.join(fiber)
        for (const fiber of wrong) assert.deepInclude(yield* Fiber.join(fiber), { _tag: tag, published: "no" })
        const written = (yield* broker.published).filter(({ routingKey }) => routingKey === "paid").length
        assert.isAtMost(written, right.length + 3, "only the first close could take others with it")
      }).pipe(Effect.provide(Virtual.layer())))
  }

  /** Messages to an exchange that was missing for two of them before it was declared. */
  const late = Effect.gen(function*() {
    const channel = yield* AmqpChannel.AmqpChannel
    const message = { exchange: "late", routingKey: "x", mandatory: false, body: "x" }
    for (let i = 0; i < 2; i++) {
      const before = yield* begin(reason(publish(message)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(before))._tag, "ExchangeNotFound")
    }
    yield* channel.declareExchange(AmqpTopology.exchange("late"))
    return message
  })

  it.effect("when a missing exchange is there at last, its messages go as many at a time as any", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const message = yield* late
      yield* broker.setLatency("10 millis")
      const publishing = yield* begin(
        Effect.forEach(Array.from({ length: 100 }), () => publish(message), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("40 millis")
      yield* broker.setLatency(0)
      assert.isDefined(publishing.pollUnsafe(), "it takes one message alone, and the 99 others together")
      yield* Fiber.join(publishing)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("of messages like one that had the channel closed, others wait for the first a second at most", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const message = yield* late
      yield* broker.loseConfirms(1)
      const unanswered = yield* begin(reason(publish(message)))
      const next = yield* begin(publish(message))
      const other = yield* begin(publish(paid("other")))
      assert.isDefined(other.pollUnsafe(), "a message of another kind does not wait for them")
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(next.pollUnsafe(), "the next of them waits for the first one's confirm")
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(next)
      yield* TestClock.adjust("5 seconds")
      assert.deepInclude(yield* Fiber.join(unanswered), { _tag: "ConfirmTimeout", published: "unknown" })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("messages like one that had the channel closed wait a second at most when a timer comes a little early, as those of Node do", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const clock = yield* Clock.Clock
      const early: Clock.Clock = {
        ...clock,
        sleep: (duration) => clock.sleep(Duration.millis(Math.max(1, Duration.toMillis(duration) - 1)))
      }
      const publisher = yield* Effect.provideService(AmqpPublisher.make(), Clock.Clock, early)
      const message = yield* Effect.provideService(late, AmqpPublisher.AmqpPublisher, publisher)
      yield* broker.loseConfirms(1)
      yield* begin(Effect.exit(publisher.publish(message)))
      const next = yield* begin(publisher.publish(message))
      yield* TestClock.adjust("1 second")
      const inTime = next.pollUnsafe()
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(inTime)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("the end of the scope waits for messages like one that had the channel closed, too", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const scope = yield* Scope.make()
      const publisher = yield* AmqpPublisher.make().pipe(Scope.provide(scope))
      const message = yield* Effect.provideService(late, AmqpPublisher.AmqpPublisher, publisher)
      yield* broker.delayConfirms("100 millis")
      const publishing = yield* Effect.forEach([1, 2, 3], () => begin(publisher.publish(message)))
      const closing = yield* begin(Scope.close(scope, Exit.void))
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      for (const fiber of publishing) yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* publisher.counts, { waiting: 0, inFlight: 0, inFlightBytes: 0 })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("publishing to the default exchange without the permission fails with AccessRefused", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.setUser({
        name: "some",
        password: Redacted.make("secret"),
        permissions: { configure: /.*/, write: /^(orders|invoices)$/, read: /.*/ }
      })
      yield* Effect.gen(function*() {
        for (const exchange of ["", "", "amq.default"]) {
          const refused = yield* begin(reason(publish({ exchange, routingKey: "invoices", body: "x" })))
          yield* TestClock.adjust("5 seconds")
          assert.deepInclude(yield* Fiber.join(refused), { _tag: "AccessRefused", exchange, published: "no" })
        }
      }).pipe(Effect.provide(Virtual.application({ connection: { endpoints: "amqp://some:secret@localhost" } })))
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("publishing to an internal exchange fails with AccessRefused, and the publisher keeps working", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* channel.declareExchange({ name: "inner", type: "fanout", internal: true })
      const refused = yield* reason(publish({ exchange: "inner", routingKey: "", body: "x" }))
      assert.deepInclude(refused, { _tag: "AccessRefused", exchange: "inner", published: "no" })
      const next = yield* begin(publish(paid("x")))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(next)
    }).pipe(Effect.provide(Virtual.layer())))
})
