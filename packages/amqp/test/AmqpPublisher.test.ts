import { assert, describe, it } from "@effect/vitest"
import type { Cause } from "effect"
import {
  Arbitrary,
  Clock,
  Config,
  ConfigProvider,
  Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Queue,
  Redacted,
  Result,
  Schedule,
  Scope,
  Stream,
  Tracer
} from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import type { AmqpMessage, PublishError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { between } from "./support/Between.ts"
import * as Virtual from "./support/Virtual.ts"

const paid = (body: AmqpMessage.Body, rest: Partial<AmqpMessage.Message> = {}): AmqpMessage.Message => ({
  exchange: Virtual.orders,
  routingKey: "paid",
  body,
  ...rest
})

const reason = <A>(effect: Effect.Effect<A, PublishError.PublishError, AmqpPublisher.AmqpPublisher>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason)

const publish = (message: AmqpMessage.Message) =>
  Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) => publisher.publish(message))

/** Start an effect and let it come as far as it can without time passing. */
const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), TestClock.adjust(0))

const depth = (queue = "invoices") => Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.depth(queue))

const connectionLayer = AmqpConnection.layer({ retry: { interval: "1 second", max: 100 } })

describe("AmqpPublisher", () => {
  describe("publish", () => {
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
  })

  describe("at the deadline", () => {
    it.effect("a message that was written fails with ConfirmTimeout and unknown, exactly then", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        const publishing = yield* begin(reason(publish(paid("x"))))
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(publishing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.deepInclude(yield* Fiber.join(publishing), {
          _tag: "ConfirmTimeout",
          published: "unknown",
          waitingFor: "confirm",
          millis: 5000
        })
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("it comes when it is due although the time of day is set back or forth meanwhile", () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        let shift = 0
        const shifted: Clock.Clock = {
          ...clock,
          currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + shift
        }
        yield* Effect.gen(function*() {
          const broker = yield* AmqpMemory.AmqpMemory
          yield* broker.withholdConfirms
          for (const hours of [-1, 1]) {
            const publishing = yield* begin(reason(publish(paid("x"))))
            shift += hours * 3_600_000
            yield* TestClock.adjust("4999 millis")
            assert.isUndefined(publishing.pollUnsafe(), `set by ${hours} hours, the publish is not over yet`)
            yield* TestClock.adjust("1 millis")
            assert.strictEqual((yield* Fiber.join(publishing))._tag, "ConfirmTimeout")
          }
        }).pipe(Effect.provide(Virtual.layer().pipe(Layer.provide(Layer.succeed(Clock.Clock, shifted)))))
      }))

    it.effect("a message that waited for a connection fails with ConfirmTimeout and was not published", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* TestClock.adjust("10 seconds")
        yield* broker.refuseConnects(1000)
        yield* broker.cutConnections
        yield* TestClock.adjust(0)
        const publishing = yield* begin(reason(publish(paid("x"))))
        yield* TestClock.adjust("5 seconds")
        assert.deepInclude(yield* Fiber.join(publishing), {
          _tag: "ConfirmTimeout",
          published: "no",
          waitingFor: "connection"
        })
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("a late confirm is absorbed: it settles nothing and no neighbour", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.withholdConfirms
        const first = yield* begin(reason(publish(paid("first"))))
        yield* TestClock.adjust("3 seconds")
        const second = yield* begin(publish(paid("second")))
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(first))._tag, "ConfirmTimeout")
        assert.strictEqual((yield* publisher.counts).inFlight, 2)
        yield* broker.releaseConfirms
        yield* Fiber.join(second)
        assert.deepStrictEqual(yield* publisher.counts, { waiting: 0, inFlight: 0, inFlightBytes: 0 })
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("confirms that never come do not close the publisher for good: a full window moves to a fresh channel", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.loseConfirms(3)
        const publishing = yield* begin(
          Effect.forEach([1, 2, 3], (i) => reason(publish(paid(i))), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("5 seconds")
        for (const lost of yield* Fiber.join(publishing)) assert.strictEqual(lost._tag, "ConfirmTimeout")
        const next = yield* begin(publish(paid(4)))
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(next)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 3 } }))))
  })

  describe("when the connection is lost", () => {
    it.effect("an outage delays a message and loses none", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* TestClock.adjust("10 seconds")
        yield* broker.refuseConnects(3)
        yield* broker.cutConnections
        const publishing = yield* begin(publish(paid("x")))
        yield* TestClock.adjust("4 seconds")
        yield* Fiber.join(publishing)
        assert.strictEqual(yield* depth(), 1)
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("what was not confirmed is published again with the same messageId, in the same order", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* TestClock.adjust("10 seconds")
        yield* broker.withholdConfirms
        const publishing = yield* begin(
          Effect.forEach([1, 2, 3], (i) => publish(paid(i, { messageId: `m${i}` })), { concurrency: "unbounded" })
        )
        yield* broker.cutConnections
        yield* broker.releaseConfirms
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(publishing)
        const published = yield* broker.published
        assert.deepStrictEqual(published.map((record) => record.messageId), [
          "m1",
          "m2",
          "m3",
          "m1",
          "m2",
          "m3"
        ])
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("with unconfirmed: \"fail\" what was in flight fails with ConnectionLost and unknown", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        const publishing = yield* begin(reason(publish(paid("x"))))
        yield* broker.cutConnections
        assert.deepInclude(yield* Fiber.join(publishing), { _tag: "ConnectionLost", published: "unknown" })
      }).pipe(Effect.provide(Virtual.layer({ publisher: { unconfirmed: "fail" } }))))

    it.effect("a message whose fate became unknown stays unknown, whatever a later attempt fails with", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const channel = yield* AmqpChannel.AmqpChannel
        yield* TestClock.adjust("10 seconds")
        yield* broker.withholdConfirms
        const publishing = yield* begin(reason(publish(paid("x"))))
        yield* channel.unbindQueue(Virtual.invoices, Virtual.orders, { routingKey: "paid" })
        yield* channel.deleteQueue(Virtual.invoices)
        yield* broker.cutConnections
        yield* broker.releaseConfirms
        yield* TestClock.adjust("1 second")
        const ended = yield* Fiber.join(publishing)
        assert.deepInclude(ended, { _tag: "Unroutable", published: "unknown" })
      }).pipe(
        Effect.provide(
          // Declared once, not on every session: the queue stays away.
          Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
            Layer.provideMerge(connectionLayer),
            Layer.provideMerge(Layer.effectDiscard(
              Effect.scoped(Effect.provide(AmqpTopology.declare(Virtual.topology), connectionLayer))
            )),
            Layer.provideMerge(AmqpMemory.layer)
          )
        )
      ))
  })

  describe("when the broker refuses", () => {
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

    it.effect("they wait no longer than that when a timer comes a little early, as those of Node do", () =>
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

  describe("bad input is refused before the wire", () => {
    const circle: Record<string, unknown> = {}
    circle["self"] = circle
    const cases: ReadonlyArray<readonly [string, unknown, PublishError.PublishErrorReason["_tag"], RegExp]> = [
      ["a routing key of 256 bytes", { routingKey: "é".repeat(128) }, "InvalidMessage", /256 bytes/],
      ["a routing key that is no string", { routingKey: 7 }, "InvalidMessage", /must be a string/],
      ["a missing routing key", { routingKey: undefined }, "InvalidMessage", /missing/],
      ["an exchange of 300 bytes", { exchange: "x".repeat(300) }, "InvalidMessage", /300 bytes/],
      ["an exchange that is null", { exchange: null }, "InvalidMessage", /null/],
      ["a correlation id of 300 bytes", { correlationId: "x".repeat(300) }, "InvalidMessage", /correlationId/],
      ["a message id that is a number", { messageId: 7 }, "InvalidMessage", /messageId/],
      ["a priority of -1", { priority: -1 }, "InvalidMessage", /0 to 255/],
      ["a priority of 256", { priority: 256 }, "InvalidMessage", /0 to 255/],
      ["a broken priority", { priority: 1.5 }, "InvalidMessage", /whole number/],
      ["a timestamp that is no date", { timestamp: 12 }, "InvalidMessage", /Date/],
      ["an invalid date", { timestamp: new Date(NaN) }, "InvalidMessage", /Date/],
      ["an expiration that is no duration", { expiration: "soon" }, "InvalidMessage", /duration/],
      ["an expiration that is NaN", { expiration: NaN }, "InvalidMessage", /duration/],
      ["an endless expiration", { expiration: "Infinity" }, "InvalidMessage", /49.7 days/],
      ["a header that is a function", { headers: { f: () => 1 } }, "InvalidMessage", /headers\.f/],
      ["a header that is a bigint", { headers: { a: [1n] } }, "InvalidMessage", /headers\.a\[0\]/],
      ["a header that is NaN", { headers: { n: NaN } }, "InvalidMessage", /finite/],
      ["headers in a circle", { headers: circle }, "InvalidMessage", /circle/],
      ["a header key of 256 bytes", { headers: { ["k".repeat(256)]: 1 } }, "InvalidMessage", /256 bytes/],
      ["headers of 70 kB", { headers: { big: "x".repeat(70_000) } }, "InvalidMessage", /65536/],
      ["a CC header that is no list", { headers: { CC: "audit" } }, "InvalidMessage", /headers\.CC.*list/],
      ["a BCC header that is no list", { headers: { BCC: { a: "b" } } }, "InvalidMessage", /headers\.BCC.*list/],
      ["a direct reply-to that nobody reads", { replyTo: "amq.rabbitmq.reply-to" }, "InvalidMessage", /replyTo.*queue/],
      ["headers that are a list", { headers: [1] }, "InvalidMessage", /object/],
      ["another user's id", { userId: "somebody" }, "InvalidMessage", /authenticated as "guest"/],
      ["a body in a circle", { body: circle }, "EncodeError", /JSON/],
      ["a body that is undefined", { body: undefined }, "EncodeError", /missing/],
      ["a body with a bigint", { body: { n: 1n } }, "EncodeError", /JSON/],
      ["a body over the limit", { body: "x".repeat(1001) }, "TooLarge", /1001 bytes/]
    ]
    const refuses = (tracing: boolean) => ([, field, tag, says]: typeof cases[number]) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const before = yield* broker.counts
        const refused = yield* reason(publish({ ...paid("x"), ...field as object }))
        assert.strictEqual(refused._tag, tag)
        assert.strictEqual(refused.published, "no")
        assert.match(refused.message, says)
        yield* publish(paid("fine"))
        assert.deepStrictEqual(yield* broker.counts, before, "the channel must be the same as before")
        assert.strictEqual((yield* broker.published).length, 1)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxMessageBytes: 1000, tracing } })))
    it.effect.each(cases)("%s", refuses(false))
    it.effect.each(cases)("%s, with tracing", refuses(true))
  })

  describe("bounds", () => {
    it.effect("no more than maxInFlight messages are written before one is confirmed", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.withholdConfirms
        const publishing = yield* begin(
          Effect.forEach(Array.from({ length: 10 }, (_, i) => i), (i) => publish(paid(i)), { concurrency: "unbounded" })
        )
        assert.deepInclude(yield* publisher.counts, { waiting: 7, inFlight: 3 })
        assert.strictEqual((yield* broker.published).length, 3)
        yield* broker.releaseConfirms
        yield* Fiber.join(publishing)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 3 } }))))

    it.effect("no more than maxInFlightBytes are written, but a larger message goes alone", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.withholdConfirms
        const publishing = yield* begin(
          Effect.forEach([5000, 100, 100], (size) => publish(paid("x".repeat(size))), { concurrency: "unbounded" })
        )
        assert.deepInclude(yield* publisher.counts, { waiting: 2, inFlight: 1 })
        yield* broker.releaseConfirms
        yield* Fiber.join(publishing)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlightBytes: 1000 } }))))

    it.effect("whenFull: \"fail\" fails the message that finds the queue full", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        const publishing = yield* begin(Effect.forEach([1, 2, 3, 4], (i) => Effect.result(publish(paid(i))), {
          concurrency: "unbounded"
        }))
        yield* broker.releaseConfirms
        const results = yield* Fiber.join(publishing)
        assert.deepStrictEqual(results.map(Result.isSuccess), [true, true, true, false])
        assert.strictEqual(Result.isFailure(results[3]!) && results[3].failure.reason._tag, "Full")
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 1, maxWaiting: 2, whenFull: "fail" } }))))

    it.effect("whenFull: \"dropOldest\" fails the message that has waited longest", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        const publishing = yield* begin(Effect.forEach([1, 2, 3, 4], (i) => Effect.result(publish(paid(i))), {
          concurrency: "unbounded"
        }))
        yield* broker.releaseConfirms
        const results = yield* Fiber.join(publishing)
        assert.deepStrictEqual(results.map(Result.isSuccess), [true, false, true, true])
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 1, maxWaiting: 2, whenFull: "dropOldest" } }))))

    it.effect("a small message goes when the large one before it is interrupted, which did not fit", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        const first = yield* begin(publish(paid("first")))
        const large = yield* begin(publish(paid("x".repeat(2000))))
        const small = yield* begin(publish(paid("small")))
        assert.strictEqual((yield* broker.published).length, 1)
        yield* Fiber.interrupt(large)
        yield* Virtual.settle
        assert.strictEqual((yield* broker.published).length, 2)
        yield* broker.releaseConfirms
        yield* Fiber.joinAll([first, small])
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlightBytes: 1000 } }))))

    it.effect("confirms that never come do not take the byte window for good: it moves to a fresh channel", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.loseConfirms(1)
        const lost = yield* begin(reason(publish(paid("x".repeat(2000)))))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* Fiber.join(lost))._tag, "ConfirmTimeout")
        const next = yield* begin(publish(paid("y".repeat(2000))))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(next)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlightBytes: 1000 } }))))

    it.effect("nor does what was lost during an alarm, when it is over", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.loseConfirms(3)
        yield* broker.block()
        const lost = yield* begin(
          Effect.forEach([1, 2, 3], (body) => reason(publish(paid(body))), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("5 seconds")
        for (const lostOne of yield* Fiber.join(lost)) {
          assert.deepInclude(lostOne, { _tag: "ConfirmTimeout", waitingFor: "unblocked" })
        }
        yield* broker.unblock
        yield* Virtual.settle
        const next = yield* begin(publish(paid(4)))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(next)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 3 } }))))

    it.effect("a blocked broker makes publishes wait within their deadline, and the rest goes when it is over", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.block("low on disk")
        const first = yield* begin(reason(publish(paid("in time? no"))))
        yield* TestClock.adjust("3 seconds")
        const second = yield* begin(publish(paid("in time? yes")))
        yield* TestClock.adjust("2 seconds")
        assert.deepInclude(yield* Fiber.join(first), { _tag: "ConfirmTimeout", waitingFor: "unblocked" })
        yield* broker.unblock
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(second)
      }).pipe(Effect.provide(Virtual.layer())))
  })

  describe("interruption", () => {
    it.effect("of a waiting message sends nothing and frees its place", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.withholdConfirms
        const first = yield* begin(publish(paid(1)))
        const second = yield* begin(publish(paid(2)))
        yield* Fiber.interrupt(second)
        assert.deepInclude(yield* publisher.counts, { waiting: 0, inFlight: 1 })
        yield* broker.releaseConfirms
        yield* Fiber.join(first)
        assert.strictEqual((yield* broker.published).length, 1)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 1 } }))))

    it.effect("of a message in flight leaves nothing when its confirm comes", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.withholdConfirms
        const publishing = yield* begin(publish(paid(1)))
        yield* Fiber.interrupt(publishing)
        yield* broker.releaseConfirms
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(yield* publisher.counts, { waiting: 0, inFlight: 0, inFlightBytes: 0 })
      }).pipe(Effect.provide(Virtual.layer())))
  })

  describe("the end of the scope", () => {
    it.effect("waits for what is on its way, and then closes the channel and the connection", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Virtual.application(), scope)
        yield* broker.withholdConfirms
        const publishing = yield* begin(
          Effect.forEach([1, 2, 3], (i) => Effect.provide(publish(paid(i)), context), { concurrency: "unbounded" })
        )
        const closing = yield* begin(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("1 second")
        assert.isUndefined(closing.pollUnsafe())
        assert.deepInclude(
          yield* Effect.provide(reason(publish(paid("late"))), context),
          { _tag: "PublisherClosed", published: "no" }
        )
        yield* broker.releaseConfirms
        yield* Fiber.join(closing)
        yield* Fiber.join(publishing)
        assert.deepStrictEqual(yield* broker.leftovers, [])
      }).pipe(Effect.provide(AmqpMemory.layer)))

    it.effect("waits for a message that was submitted when the one before it was confirmed", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Virtual.application(), scope)
        yield* broker.delayConfirms("100 millis")
        const second = yield* begin(
          Effect.gen(function*() {
            yield* publish(paid("first"))
            const second = yield* Effect.forkDetach(publish(paid("second")), { startImmediately: true })
            yield* Scope.close(scope, Exit.void)
            return yield* Fiber.await(second)
          }).pipe(Effect.provide(context))
        )
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(second), Exit.void)
      }).pipe(Effect.provide(AmqpMemory.layer)))

    it.effect("does not wait for a message that was refused before it could be written", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Virtual.application(), scope)
        yield* TestClock.adjust("10 seconds")
        yield* broker.refuseConnects(1)
        yield* broker.cutConnections
        yield* Virtual.settle
        const publisher = Context.get(context, AmqpPublisher.AmqpPublisher)
        const refused = yield* begin(Effect.flip(publisher.publish(paid("x", { userId: "somebody" }))))
        const closing = yield* begin(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("2 seconds")
        yield* Virtual.settle
        assert.strictEqual((yield* Fiber.join(refused)).reason._tag, "InvalidMessage")
        assert.isDefined(closing.pollUnsafe(), "the scope, which had nothing more to wait for, is closed")
      }).pipe(Effect.provide(AmqpMemory.layer)))

    it.effect("gives up at the drain deadline, and says so to every message that is left", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(
          Virtual.application({ publisher: { confirmTimeout: "1 minute", drainTimeout: "2 seconds", maxInFlight: 1 } }),
          scope
        )
        yield* broker.withholdConfirms
        const publishing = yield* begin(Effect.forEach(
          [1, 2],
          (i) => Effect.provide(reason(publish(paid(i))), context),
          { concurrency: "unbounded" }
        ))
        const closing = yield* begin(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        const [first, second] = yield* Fiber.join(publishing)
        assert.deepInclude(first, { _tag: "PublisherClosed", published: "unknown" })
        assert.deepInclude(second, { _tag: "PublisherClosed", published: "no" })
        assert.deepStrictEqual(yield* broker.leftovers, [])
      }).pipe(Effect.provide(AmqpMemory.layer)))
  })

  describe("publishAll", () => {
    const batch = (count: number, key: (i: number) => string = () => "paid") =>
      Array.from({ length: count }, (_, i) => paid(i, { routingKey: key(i) }))

    it.effect("succeeds when every message was confirmed, in the order of the batch", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const publishing = yield* begin(publisher.publishAll(batch(500), { inFlight: 50 }))
        yield* Virtual.settle
        yield* Fiber.join(publishing)
        assert.deepStrictEqual(
          (yield* broker.published).map((record) => Number(Buffer.from(record.body).toString())),
          Array.from({ length: 500 }, (_, i) => i)
        )
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("fails with which were not confirmed and why, after all the others were", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const error = yield* Effect.flip(publisher.publishAll([
          ...batch(100, (i) => i % 10 === 3 ? "nobody" : "paid"),
          paid("x", { priority: 999 })
        ]))
        assert.strictEqual(error.confirmed, 90)
        assert.deepStrictEqual(
          error.failures.map((failure) => failure.index),
          [3, 13, 23, 33, 43, 53, 63, 73, 83, 93, 100]
        )
        assert.strictEqual(error.failures[0].error.reason._tag, "Unroutable")
        assert.strictEqual(error.failures[10]?.error.reason._tag, "InvalidMessage")
        assert.match(error.message, /11 of 101/)
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("of nothing succeeds", () =>
      Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) => publisher.publishAll([])).pipe(
        Effect.provide(Virtual.layer())
      ))

    it.effect("with a window that cannot work is a defect that says so, and does not hang", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        for (const inFlight of [0, -1, 1.5, NaN]) {
          const exit = yield* Effect.exit(publisher.publishAll(batch(1), { inFlight }))
          assert.isTrue(Exit.hasDies(exit), `inFlight: ${inFlight}`)
        }
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("each message has a deadline of its own, which one timer watches", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.withholdConfirms
        const publishing = yield* begin(Effect.flip(publisher.publishAll(batch(4), { inFlight: 2 })))
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(publishing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* broker.releaseConfirms
        yield* Virtual.settle
        const error = yield* Fiber.join(publishing)
        assert.strictEqual(error.confirmed, 2)
        assert.deepStrictEqual(error.failures.map(({ index }) => index), [0, 1])
        assert.deepInclude(error.failures[0].error.reason, { _tag: "ConfirmTimeout", published: "unknown" })
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("interrupted, lets a generator of messages clean up", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        let isClosed = false
        const messages = function*() {
          try {
            for (let body = 0;; body++) yield paid(body)
          } finally {
            isClosed = true
          }
        }
        yield* broker.withholdConfirms
        const running = yield* begin(publisher.publishAll(messages(), { inFlight: 2 }))
        yield* Fiber.interrupt(running)
        assert.isTrue(isClosed)
        yield* broker.releaseConfirms
        yield* Virtual.settle
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("ends by its deadlines behind a message of somebody else that cannot be written", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* TestClock.adjust("10 seconds")
        yield* broker.refuseConnects(1000)
        yield* broker.cutConnections
        yield* Virtual.settle
        yield* begin(reason(publish(paid("other"))))
        const batch = yield* begin(Effect.flip(publisher.publishAll([paid(1), paid(2)])))
        for (let second = 0; second < 11; second++) yield* TestClock.adjust("1 second")
        yield* Virtual.settle
        const { failures } = yield* Fiber.join(batch)
        assert.deepStrictEqual(failures.map(({ error }) => error.reason._tag), ["ConfirmTimeout", "ConfirmTimeout"])
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("ends with the publisher behind a message of somebody else that cannot be written", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Virtual.application(), scope)
        const publisher = Context.get(context, AmqpPublisher.AmqpPublisher)
        yield* TestClock.adjust("10 seconds")
        yield* broker.refuseConnects(1000)
        yield* broker.cutConnections
        yield* Virtual.settle
        yield* begin(Effect.flip(publisher.publish(paid("other"))))
        const batch = yield* begin(Effect.flip(publisher.publishAll([paid(1), paid(2)])))
        yield* begin(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("5 seconds")
        yield* Virtual.settle
        assert.strictEqual((yield* Fiber.join(batch)).failures.length, 2)
      }).pipe(Effect.provide(AmqpMemory.layer)))

    it.effect("has its turn beside streams that never end", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.delayConfirms("10 millis")
        const endless = Stream.map(Stream.forever(Stream.make("x")), (body) => paid(body))
        const streams = [
          yield* begin(Stream.run(endless, publisher.sink({ inFlight: 100 }))),
          yield* begin(Stream.run(endless, publisher.sink()))
        ]
        const batch = yield* begin(publisher.publishAll(Array.from({ length: 20 }, (_, body) => paid(body))))
        for (let turn = 0; turn < 50; turn++) yield* TestClock.adjust("10 millis")
        assert.deepStrictEqual(batch.pollUnsafe(), Exit.void)
        yield* Fiber.interruptAll(streams)
        yield* TestClock.adjust("10 millis")
      }).pipe(Effect.provide(Virtual.layer({ publisher: { maxInFlight: 8 } }))))

    it.effect("interrupted, sends nothing more and leaves nothing", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.withholdConfirms
        const publishing = yield* begin(publisher.publishAll(batch(100), { inFlight: 10 }))
        yield* Fiber.interrupt(publishing)
        yield* broker.releaseConfirms
        yield* Virtual.settle
        assert.deepStrictEqual(yield* publisher.counts, { waiting: 0, inFlight: 0, inFlightBytes: 0 })
        assert.strictEqual((yield* broker.published).length, 10)
      }).pipe(Effect.provide(Virtual.layer())))
  })

  describe("sink", () => {
    const rows = (count: number) => Stream.map(Stream.range(0, count - 1), (i) => paid(i))

    it.effect("publishes a stream, and gives the number of confirmed messages", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const running = yield* begin(Stream.run(rows(1000), publisher.sink({ inFlight: 100 })))
        yield* Virtual.settle
        assert.strictEqual(yield* Fiber.join(running), 1000)
        assert.strictEqual(yield* depth(), 1000)
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("pulls the stream no further than its window", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        let pulled = 0
        yield* broker.withholdConfirms
        const running = yield* begin(
          Stream.fromEffectRepeat(Effect.sync(() => paid(pulled++))).pipe(
            Stream.take(100),
            Stream.run(publisher.sink({ inFlight: 10 }))
          )
        )
        yield* Virtual.settle
        assert.isAtMost(pulled, 12)
        yield* broker.releaseConfirms
        yield* Virtual.settle
        assert.strictEqual(yield* Fiber.join(running), 100)
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("ends with the failure of a message", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const error = yield* Effect.flip(
          Stream.make(paid(1), paid(2, { routingKey: "nobody" }), paid(3)).pipe(Stream.run(publisher.sink()))
        )
        assert.strictEqual(error.reason._tag, "Unroutable")
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("goes on when failures are handed to somebody", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const failures: Array<number> = []
        const confirmed = yield* Stream.range(0, 9).pipe(
          Stream.map((i) => paid(i, { routingKey: i % 5 === 0 ? "nobody" : "paid" })),
          Stream.run(publisher.sink({
            inFlight: 3,
            onFailure: (failure) => Effect.sync(() => failures.push(failure.index))
          }))
        )
        assert.strictEqual(confirmed, 8)
        assert.deepStrictEqual(failures.sort(), [0, 5])
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("ends with the failure of a message although the stream has nothing more for now", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const quiet = Stream.concat(Stream.make(paid("x", { routingKey: "nobody" })), Stream.never)
        const error = yield* begin(Effect.flip(Stream.run(quiet, publisher.sink())))
        yield* Virtual.settle
        assert.isDefined(error.pollUnsafe())
        assert.strictEqual((yield* Fiber.join(error)).reason._tag, "Unroutable")
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("does not take the end of a queue that onFailure reads for the end of the stream", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const ended = yield* Queue.unbounded<void, Cause.Done>()
        yield* Queue.end(ended)
        const messages = Stream.map(
          Stream.range(1, 100),
          (body) => paid(body, { routingKey: body === 1 ? "nobody" : "paid" })
        )
        const sink = publisher.sink({ inFlight: 5, onFailure: () => Queue.take(ended) })
        const running = yield* begin(Effect.exit(Stream.run(messages, sink)))
        yield* Virtual.settle
        assert.isTrue(Exit.isFailure(yield* Fiber.join(running)))
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("an outage delays a stream and loses none of it", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* TestClock.adjust("10 seconds")
        yield* broker.withholdConfirms
        const running = yield* begin(Stream.run(rows(300), publisher.sink({ inFlight: 50 })))
        yield* broker.refuseConnects(2)
        yield* broker.cutConnections
        yield* broker.releaseConfirms
        yield* Virtual.settle
        yield* TestClock.adjust("3 seconds")
        yield* Virtual.settle
        assert.strictEqual(yield* Fiber.join(running), 300)
        const found = new Set((yield* broker.published).map((record) => Buffer.from(record.body).toString()))
        assert.strictEqual(found.size, 300)
      }).pipe(Effect.provide(Virtual.layer())))
  })

  describe("options", () => {
    it.effect("one that was given up before it was made leaves nothing behind in its scope", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const before = yield* broker.counts
        yield* broker.refuseConnects(4)
        yield* broker.cutConnections
        const waiting = yield* Effect.forkChild(Effect.timeoutOption(AmqpPublisher.make(), "1 second"), {
          startImmediately: true
        })
        yield* TestClock.adjust("1 second")
        assert.isTrue(Option.isNone(yield* Fiber.join(waiting)))
        yield* Effect.repeat(TestClock.adjust("1 second"), { times: 20 })
        assert.deepStrictEqual(yield* broker.counts, before)
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("are read from configuration by layerConfig", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.withholdConfirms
        const publishing = yield* begin(reason(publish(paid("x"))))
        yield* TestClock.adjust("2 seconds")
        assert.deepInclude(yield* Fiber.join(publishing), { _tag: "ConfirmTimeout", millis: 2000 })
      }).pipe(
        Effect.provide(
          AmqpPublisher.layerConfig(Config.all({ confirmTimeout: Config.Duration("CONFIRM_TIMEOUT") })).pipe(
            Layer.provide(AmqpTopology.layer(Virtual.topology)),
            Layer.provide(AmqpConnection.layer()),
            Layer.provideMerge(AmqpMemory.layer)
          )
        ),
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromEnv({ env: { CONFIRM_TIMEOUT: "2 seconds" } })
        )
      ))

    const invalid: ReadonlyArray<readonly [string, AmqpPublisher.Options]> = [
      ["a confirm deadline of 0", { confirmTimeout: 0 }],
      ["no confirm deadline", { confirmTimeout: "Infinity" }],
      ["no drain deadline", { drainTimeout: "Infinity" }],
      ["a window of 0", { maxInFlight: 0 }],
      ["a broken number of bytes", { maxInFlightBytes: 1.5 }],
      ["nobody may wait", { maxWaiting: 0 }],
      ["no bytes at all", { maxMessageBytes: 0 }]
    ]
    it.effect.each(invalid)("%s is refused with what would be right", ([, options]) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(AmqpPublisher.make(options))
        assert.strictEqual(error.reason._tag, "InvalidConfiguration")
      }).pipe(Effect.provide(connectionLayer), Effect.provide(AmqpMemory.layer)))
  })

  describe("observability", () => {
    const value = (id: string) =>
      Effect.map(Metric.snapshot, (metrics) => {
        const metric = metrics.find((metric) => metric.id === id)
        return metric === undefined
          ? undefined
          : "count" in metric.state
          ? Number(metric.state.count)
          : metric.state
      })

    it.effect("counts what was confirmed, failed, returned, nacked and republished, and how long confirms took", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* publish(paid(1))
        yield* reason(publish(paid(2, { routingKey: "nobody" })))
        yield* broker.nackConfirms(1)
        const third = yield* begin(publish(paid(3)))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(third)
        yield* Virtual.settle
        assert.strictEqual(yield* value("amqp_publisher_confirmed"), 2)
        assert.strictEqual(yield* value("amqp_publisher_failed"), 1)
        assert.strictEqual(yield* value("amqp_publisher_returned"), 1)
        assert.strictEqual(yield* value("amqp_publisher_nacked"), 1)
        assert.strictEqual(yield* value("amqp_publisher_republished"), 1)
        assert.strictEqual(yield* value("amqp_publisher_confirm_latency"), 2)
      }).pipe(
        Effect.provide(Virtual.layer()),
        Effect.provideService(Metric.MetricRegistry, new Map())
      ))

    it.effect("counts a message that failed before the wire, and one that came after the end", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const publisher = yield* Scope.provide(AmqpPublisher.make({ maxMessageBytes: 10 }), scope)
        yield* Effect.flip(publisher.publish(paid(1, { priority: -1 })))
        yield* Virtual.settle
        assert.strictEqual(yield* value("amqp_publisher_failed"), 1)
        yield* Effect.flip(publisher.publishAll([paid("x".repeat(11)), paid({ n: 1n } as never)]))
        yield* Virtual.settle
        assert.strictEqual(yield* value("amqp_publisher_failed"), 3)
        yield* Scope.close(scope, Exit.void)
        yield* Virtual.settle
        yield* Effect.flip(publisher.publish(paid(2)))
        yield* Virtual.settle
        assert.strictEqual(yield* value("amqp_publisher_failed"), 4)
      }).pipe(
        Effect.provide(Virtual.layer()),
        Effect.provideService(Metric.MetricRegistry, new Map())
      ))

    it.effect("with tracing: true each message carries its producer span, which ends with the outcome", () =>
      Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const spans: Array<Tracer.Span> = []
        const tracer = Tracer.make({
          span(options) {
            const span = new Tracer.NativeSpan(options)
            spans.push(span)
            return span
          }
        })
        yield* Effect.gen(function*() {
          yield* publisher.publish(paid(1))
          yield* publisher.publishAll([paid(2)])
          yield* reason(publisher.publish(paid(3, { routingKey: "nobody" })))
        }).pipe(Effect.withTracer(tracer))
        assert.deepStrictEqual(spans.map((span) => span.name), ["publish orders", "publish orders", "publish orders"])
        assert.deepStrictEqual(spans.map((span) => span.kind), ["producer", "producer", "producer"])
        assert.strictEqual(spans[0]!.attributes.get("messaging.system"), "rabbitmq")
        assert.deepStrictEqual(
          spans.map((span) => span.status._tag === "Ended" ? Exit.isSuccess(span.status.exit) : "open"),
          [true, true, false]
        )
        for (const span of spans.slice(0, 2)) {
          const delivery = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
          assert.strictEqual(delivery.headers["traceparent"], `00-${span.traceId}-${span.spanId}-01`)
        }
      }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

    it.effect("the gauges follow what waits and what is in flight, without an outcome too", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const gauges = Effect.map(
          Metric.snapshot,
          (metrics) =>
            ["amqp_publisher_waiting", "amqp_publisher_in_flight"].map((id) => {
              const state = metrics.find((metric) => metric.id === id)?.state
              return state !== undefined && "value" in state ? state.value : undefined
            })
        )
        yield* broker.withholdConfirms
        const late = yield* begin(reason(publish(paid(1))))
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(late)
        assert.deepStrictEqual(yield* gauges, [0, 1])
        yield* broker.releaseConfirms
        yield* Virtual.settle
        assert.deepStrictEqual(yield* gauges, [0, 0])
        yield* TestClock.adjust("10 seconds")
        yield* broker.refuseConnects(1000)
        yield* broker.cutConnections
        yield* Virtual.settle
        const waiting = yield* begin(reason(publish(paid(2))))
        yield* Virtual.settle
        assert.deepStrictEqual(yield* gauges, [1, 0])
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(waiting)
      }).pipe(
        Effect.provide(Virtual.layer()),
        Effect.provideService(Metric.MetricRegistry, new Map())
      ))

    /** A tracer whose spans can be looked at, and may refuse to end. */
    const recording = (onEnd: () => void = () => {}) => {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span(options) {
          const span = new Tracer.NativeSpan(options)
          const end = span.end.bind(span)
          span.end = (time, exit) => {
            onEnd()
            end(time, exit)
          }
          spans.push(span)
          return span
        }
      })
      return { spans, tracer }
    }

    it.effect("a tracer that throws costs no message its outcome", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const { tracer } = recording(() => {
          throw new Error("the exporter is broken")
        })
        const traced = yield* begin(Effect.withTracer(publisher.publishAll([paid(1), paid(2)]), tracer))
        const single = yield* begin(Effect.withTracer(publisher.publish(paid(3)), tracer))
        yield* Virtual.settle
        yield* Fiber.join(traced)
        yield* Fiber.join(single)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

    it.effect("the spans of an interrupted batch end", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const { spans, tracer } = recording()
        yield* broker.withholdConfirms
        const batch = yield* begin(Effect.withTracer(publisher.publishAll([paid(1), paid(2)]), tracer))
        yield* Fiber.interrupt(batch)
        assert.deepStrictEqual(spans.map(({ status }) => status._tag), ["Ended", "Ended"])
      }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

    it.effect("a traced message may be of a class with fields that are computed", () =>
      Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const publisher = yield* AmqpPublisher.AmqpPublisher
        class Paid implements AmqpMessage.Message {
          readonly #order: number
          constructor(order: number) {
            this.#order = order
          }
          get exchange() {
            return Virtual.orders
          }
          get routingKey() {
            return "paid"
          }
          get body() {
            return { order: this.#order }
          }
          get headers() {
            return { version: 2 }
          }
        }
        yield* publisher.publish(new Paid(1))
        yield* publisher.publishAll([new Paid(2)])
        for (const order of [1, 2]) {
          const delivery = yield* Effect.fromOption(yield* channel.get(Virtual.invoices))
          assert.strictEqual(yield* delivery.text, `{"order":${order}}`)
          assert.hasAllKeys(delivery.headers, ["version", "traceparent"])
        }
      }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))

    it.effect("a message that failed is given back as it was, without the trace of its publish", () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const message = paid(1, { routingKey: "nobody" })
        const { failures } = yield* Effect.flip(publisher.publishAll([message]))
        assert.strictEqual(failures[0].message, message)
      }).pipe(Effect.provide(Virtual.layer({ publisher: { tracing: true } }))))
  })

  describe("properties", () => {
    // What happens to the broker, one after the other; the letters are drawn by number.
    const levers = [
      "publish",
      "publish",
      "publish unroutable",
      "publish to nowhere",
      "withhold",
      "release",
      "nack",
      "lose",
      "cut",
      "refuse",
      "block",
      "unblock",
      "wait",
      "interrupt"
    ] as const

    it.effect.prop(
      "whatever the broker does, every publish has one outcome within its deadline, and it is a true one",
      {
        script: Arbitrary.array(between(0, levers.length - 1), { minLength: 1, maxLength: 30 }),
        republish: between(0, 1)
      },
      ({ republish, script }) =>
        Effect.gen(function*() {
          const broker = yield* AmqpMemory.AmqpMemory
          const scope = yield* Scope.make()
          const context = yield* Layer.buildWithScope(
            Virtual.application({
              connection: { retry: { interval: "200 millis", max: 1000 } },
              publisher: { maxInFlight: 4, unconfirmed: republish === 1 ? "republish" : "fail" }
            }),
            scope
          )
          const running: Array<{
            readonly id: string
            readonly kind: string
            readonly fiber: Fiber.Fiber<void, PublishError.PublishError>
            interrupted: boolean
          }> = []
          for (const [index, number] of script.entries()) {
            const lever = levers[number]!
            const id = `m${index}`
            const start = (message: AmqpMessage.Message) =>
              Effect.map(begin(Effect.provide(publish({ ...message, messageId: id }), context)), (fiber) => {
                running.push({ id, kind: lever, fiber, interrupted: false })
              })
            switch (lever) {
              case "publish":
                yield* start(paid(id))
                break
              case "publish unroutable":
                yield* start(paid(id, { routingKey: "nobody" }))
                break
              case "publish to nowhere":
                yield* start({ exchange: "missing", routingKey: "x", body: id })
                break
              case "withhold":
                yield* broker.withholdConfirms
                break
              case "release":
                yield* broker.releaseConfirms
                break
              case "nack":
                yield* broker.nackConfirms(1)
                break
              case "lose":
                yield* broker.loseConfirms(1)
                break
              case "cut":
                yield* broker.cutConnections
                break
              case "refuse":
                yield* broker.refuseConnects(2)
                break
              case "block":
                yield* broker.block()
                break
              case "unblock":
                yield* broker.unblock
                break
              case "wait":
                yield* TestClock.adjust("700 millis")
                break
              case "interrupt": {
                const last = running[running.length - 1]
                if (last !== undefined) {
                  last.interrupted = true
                  yield* Fiber.interrupt(last.fiber)
                }
                break
              }
            }
          }
          yield* TestClock.adjust("5 seconds")
          const routed = new Set(
            (yield* broker.published).filter((record) => record.queues.length > 0)
              .map((record) => record.messageId)
          )
          const reached = new Set((yield* broker.published).map((record) => record.messageId))
          for (const { fiber, id, interrupted, kind } of running) {
            const exit = fiber.pollUnsafe()
            assert.isDefined(exit, `${id} (${kind}) has no outcome at its deadline`)
            if (Exit.isSuccess(exit!)) {
              assert.strictEqual(kind, "publish", `${id} (${kind}) was confirmed`)
              assert.isTrue(routed.has(id), `${id} was confirmed, and no queue got it`)
            } else {
              const error = Exit.findErrorOption(exit!)
              if (error._tag === "None") {
                assert.isTrue(interrupted, `${id} (${kind}) ended without an error and was not interrupted`)
              } else if (error.value.published === "no") {
                assert.isFalse(routed.has(id), `${id} (${kind}) is said not to be published, and a queue got it`)
              } else {
                assert.isTrue(
                  reached.has(id) || kind !== "publish" || error.value.reason._tag !== "Nacked",
                  `${id} (${kind}) is said to be refused by the broker, which never saw it`
                )
              }
            }
          }
          yield* broker.unblock
          yield* broker.releaseConfirms
          const closing = yield* begin(Scope.close(scope, Exit.void))
          yield* TestClock.adjust("1 minute")
          assert.isDefined(closing.pollUnsafe(), "the scope does not close")
          assert.deepStrictEqual(yield* broker.leftovers, [])
        }).pipe(Effect.provide(AmqpMemory.layer, { local: true })),
      { arbitrary: { runs: 300 } }
    )
  })
})
