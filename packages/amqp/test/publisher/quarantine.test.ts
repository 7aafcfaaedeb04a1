import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Context, Effect, Exit, Fiber, Layer, Schedule, Scope } from "effect"
import type { AmqpMessage, PublishError } from "effect-amqp"
import { AmqpChannel, AmqpConnection, AmqpDriver, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { TestClock } from "effect/testing"
import { recoveryOf } from "../../src/internal/connection/service.ts"
import { between } from "../support/Between.ts"
import { begin, connectionLayer, paid, publish } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

const copies = Effect.gen(function*() {
  const broker = yield* AmqpMemory.AmqpMemory
  const counts = new Map<string, number>()
  for (const { messageId, queues } of yield* broker.published) {
    if (queues.length > 0) counts.set(messageId!, (counts.get(messageId!) ?? 0) + 1)
  }
  return counts
})

/** 200 messages that are routed, and one among them. */
const batchWith = (bad: AmqpMessage.Message, at: number) =>
  Array.from({ length: 201 }, (_, i) => i === at ? bad : paid(i, { messageId: `good-${i}` }))

const texts: ReadonlyArray<readonly [string, number, string]> = [
  ["another broker's text", 404, "No exchange"],
  ["a text that names an exchange nobody publishes to", 404, "NOT_FOUND - no exchange 'caf\ufffd' in vhost '/'"],
  ["a reason that no rule knows", 406, "PRECONDITION_FAILED - it is a Tuesday"],
  ["a refusal without a name", 403, "ACCESS_REFUSED"],
  ["a code that no rule knows", 311, "CONTENT_TOO_LARGE"],
  ["an empty text", 406, ""]
]

describe("a message that closes the channel of an AmqpPublisher", () => {
  for (const at of [0, 100, 200]) {
    for (const [what, replyCode, replyText] of texts) {
      it.effect(`costs itself only, with ${what}, as number ${at} of 201`, () =>
        Effect.gen(function*() {
          const broker = yield* AmqpMemory.AmqpMemory
          const publisher = yield* AmqpPublisher.AmqpPublisher
          yield* broker.refuse({ on: "publish", messageId: "bad", replyCode, replyText })
          yield* broker.setLatency("2 millis")
          const publishing = yield* begin(
            Effect.flip(publisher.publishAll(batchWith(paid("x", { messageId: "bad" }), at)))
          )
          yield* pass(3000, 100)
          const { failures } = yield* Fiber.join(publishing)
          assert.deepStrictEqual(failures.map(({ index }) => index), [at])
          const written = yield* copies
          assert.strictEqual(written.size, 200)
          assert.isAtMost(Math.max(...written.values()), 2)
          yield* broker.setLatency(0)
        }).pipe(Effect.provide(Virtual.layer())))
    }
  }

  it.effect("is named by a text in which its exchange's name was cut", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const exchange = "e".repeat(225)
      const publishing = yield* begin(
        Effect.flip(publisher.publishAll(batchWith({ exchange, routingKey: "x", body: "bad" }, 100)))
      )
      yield* TestClock.adjust("1 second")
      const { failures } = yield* Fiber.join(publishing)
      assert.deepStrictEqual(failures.map(({ index }) => index), [100])
      assert.deepInclude(failures[0].error.reason, { _tag: "ExchangeNotFound", exchange, published: "no" })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("fails as ExchangeNotFound when it was alone, whatever a 404 says", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.refuse({ on: "publish", messageId: "bad", replyCode: 404, replyText: "No exchange" })
      const publishing = yield* begin(Effect.flip(publish(paid("x", { messageId: "bad" }))))
      yield* TestClock.adjust("1 second")
      assert.deepInclude((yield* Fiber.join(publishing)).reason, { _tag: "ExchangeNotFound", exchange: "orders" })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("is known by what it is like, so that the next one goes alone at once", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const bad = { exchange: "orders", routingKey: "paid", body: "x", priority: 9, messageId: "bad" }
      yield* broker.refuse({ on: "publish", messageId: "bad", replyCode: 406, replyText: "PRECONDITION_FAILED" })
      for (let round = 0; round < 20; round++) {
        const publishing = yield* begin(Effect.exit(publish(bad)))
        const others = yield* Effect.forEach(
          [1, 2, 3],
          (i) => begin(publish(paid(i, { messageId: `good-${round}-${i}` })))
        )
        yield* TestClock.adjust("200 millis")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(publishing)))
        for (const other of others) yield* Fiber.join(other)
      }
      const again = [...(yield* copies).values()].filter((count) => count > 1)
      assert.isAtMost(again.length, 3, "only the first close could take others with it")
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("with another user's id fails for what the broker says, which lets impersonators pass", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const bad = paid("x", { userId: "somebody", messageId: "bad" })
      const publishing = yield* begin(Effect.flip(publisher.publishAll(batchWith(bad, 100))))
      yield* TestClock.adjust("1 second")
      const { failures } = yield* Fiber.join(publishing)
      assert.deepStrictEqual(failures.map(({ index }) => index), [100])
      assert.deepInclude(failures[0].error.reason, { _tag: "InvalidMessage", field: "userId", published: "no" })
      assert.match(failures[0].error.message, /authenticated user was 'guest'.*impersonator/)
      assert.isAtMost(Math.max(...(yield* copies).values()), 2)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("with unconfirmed: \"fail\" takes others with it once only", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.refuse({ on: "publish", messageId: "bad", replyCode: 406, replyText: "PRECONDITION_FAILED" })
      const failedIn: Array<number> = []
      for (let round = 0; round < 20; round++) {
        const publishing = yield* begin(Effect.exit(publish(paid("bad", { messageId: "bad", priority: 9 }))))
        const others = yield* Effect.forEach([1, 2, 3], (i) => begin(Effect.exit(publish(paid(i)))))
        yield* TestClock.adjust("200 millis")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(publishing)))
        for (const other of others) if (Exit.isFailure(yield* Fiber.join(other))) failedIn.push(round)
      }
      assert.isTrue(failedIn.every((round) => round === 0), `others failed in the rounds ${failedIn}`)
    }).pipe(Effect.provide(Virtual.layer({ publisher: { unconfirmed: "fail" } }))))

  it.effect("of many that differ, each costs others two copies at most", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const batch = Array.from({ length: 250 }, (_, i) =>
        i % 5 === 4
          ? { exchange: `missing-${i}`, routingKey: "x", body: i, messageId: `bad-${i}` }
          : paid(i, { messageId: `good-${i}` }))
      const publishing = yield* begin(Effect.flip(publisher.publishAll(batch)))
      yield* pass(4000, 50)
      const { confirmed, failures } = yield* Fiber.join(publishing)
      assert.strictEqual(confirmed, 200)
      assert.isTrue(failures.every(({ error }) => error.reason._tag === "ExchangeNotFound"))
      assert.isAtMost(Math.max(...(yield* copies).values()), 3)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("waits in quarantine for a channel that could not be opened at first", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.limitChannels({ connection: 2 })
      const context = yield* Layer.build(AmqpPublisher.layer().pipe(Layer.provideMerge(connectionLayer)))
      const publisher = Context.get(context, AmqpPublisher.AmqpPublisher)
      const other = yield* Scope.make()
      yield* recoveryOf(Context.get(context, AmqpConnection.AmqpConnection)).withSession("publish", "open", (session) =>
        Scope.provide(session.openChannel({ confirm: false }, AmqpDriver.noChannelEvents), other))
      yield* broker.refuse({ on: "publish", messageId: "bad", replyCode: 406, replyText: "PRECONDITION_FAILED" })
      const batch = [paid(1), paid(2, { messageId: "bad" }), paid(3)]
      const publishing = yield* begin(Effect.flip(publisher.publishAll(batch)))
      yield* pass(3000, 50)
      assert.isUndefined(publishing.pollUnsafe())
      yield* Scope.close(other, Exit.void)
      yield* pass(6000, 50)
      const { failures } = yield* Fiber.join(publishing)
      assert.deepStrictEqual(
        failures.map(({ index }) =>
          index
        ),
        [1]
      )
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect.prop(
    "never costs a healthy message its confirm, nor more than three copies, under a load that comes by itself",
    {
      script: Arbitrary.array(between(0, 19), { minLength: 20, maxLength: 120 }),
      latency: between(0, 15),
      replyCode: between(403, 406)
    },
    ({ latency, replyCode, script }) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* broker.setLatency(latency)
        yield* broker.refuse({ on: "publish", name: "orders", messageId: "bad", replyCode, replyText: "no words" })
        const good: Array<Fiber.Fiber<void, PublishError.PublishError>> = []
        const bad: Array<Fiber.Fiber<PublishError.PublishError, void>> = []
        for (const [index, draw] of script.entries()) {
          if (draw < 2) bad.push(yield* begin(Effect.flip(publish(paid("x", { messageId: "bad", priority: draw })))))
          else if (draw === 2) {
            bad.push(yield* begin(Effect.flip(publish({ exchange: `no-${index % 3}`, routingKey: "x", body: "x" }))))
          } else good.push(yield* begin(publish(paid(index, { messageId: `good-${index}` }))))
          yield* TestClock.adjust(draw)
        }
        yield* pass(5000, 100)
        for (const fiber of good) yield* Fiber.join(fiber)
        for (const fiber of bad) {
          const { reason } = yield* Fiber.join(fiber)
          assert.notStrictEqual(reason._tag, "ConfirmTimeout")
        }
        assert.isAtMost(Math.max(0, ...(yield* copies).values()), 3)
        yield* broker.setLatency(0)
      }).pipe(Effect.provide(Virtual.layer(), { local: true })),
    { arbitrary: { runs: 25 } }
  )
})

/** What RabbitMQ says of a message that it cannot handle, and of one whose bytes it cannot read. */
const hangUps: ReadonlyArray<readonly [number, string]> = [
  [541, "INTERNAL_ERROR"],
  [502, "SYNTAX_ERROR - unknown field type"],
  [505, "UNEXPECTED_FRAME"]
]

describe("a message that closes the connection of an AmqpPublisher", () => {
  for (const at of [0, 100, 200]) {
    for (const [replyCode, replyText] of hangUps) {
      it.effect(`costs itself only, with ${replyCode}, as number ${at} of 201`, () =>
        Effect.gen(function*() {
          const broker = yield* AmqpMemory.AmqpMemory
          const publisher = yield* AmqpPublisher.AmqpPublisher
          yield* broker.refuse({ on: "publish", messageId: "bad", replyCode, replyText })
          yield* broker.setLatency("2 millis")
          yield* pass(2000)
          const publishing = yield* begin(
            Effect.flip(publisher.publishAll(batchWith(paid("x", { messageId: "bad" }), at)))
          )
          // One end among the others, at least one more alone, and the pauses of a second between sessions.
          yield* pass(4500, 100)
          const { failures } = yield* Fiber.join(publishing)
          assert.deepStrictEqual(failures.map(({ index }) => index), [at])
          assert.deepInclude(failures[0].error.reason, {
            _tag: "ConnectionLost",
            published: "unknown",
            isCulprit: true
          })
          assert.isFalse(failures[0].error.isRetryable)
          assert.include(failures[0].error.message, `${replyCode} ${replyText}`)
          const written = yield* copies
          assert.strictEqual(written.size, 200)
          assert.isAtMost(Math.max(...written.values()), 3)
          yield* broker.setLatency(0)
        }).pipe(Effect.provide(Virtual.layer())))
    }
  }

  it.effect("ends two sessions at most, and one more for each one like it", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      yield* broker.refuse({ on: "publish", messageId: "bad", replyCode: 541, replyText: "INTERNAL_ERROR" })
      const bad = paid("x", { messageId: "bad", priority: 9 })
      const epochs: Array<number> = []
      for (let round = 0; round < 3; round++) {
        yield* pass(5000)
        const publishing = yield* begin(Effect.flip(publish(bad)))
        yield* pass(4000, 100)
        assert.deepInclude((yield* Fiber.join(publishing)).reason, { _tag: "ConnectionLost", isCulprit: true })
        const state = yield* connection.state
        assert.strictEqual(state._tag, "Connected")
        if (state._tag === "Connected") epochs.push(state.epoch)
      }
      // The session to consume has an epoch, too.
      assert.deepStrictEqual(epochs, [4, 5, 6])
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("costs messages of another publisher on the connection no failure", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const one = yield* AmqpPublisher.AmqpPublisher
      const other = yield* AmqpPublisher.make()
      yield* broker.refuse({ on: "publish", messageId: "bad", replyCode: 541, replyText: "INTERNAL_ERROR" })
      yield* broker.setLatency("2 millis")
      yield* pass(2000)
      const failing = yield* begin(Effect.flip(one.publishAll(batchWith(paid("x", { messageId: "bad" }), 100))))
      const healthy = yield* begin(other.publishAll(
        Array.from({ length: 200 }, (_, i) => paid(i, { messageId: `other-${i}`, priority: i % 10 }))
      ))
      yield* pass(4500, 100)
      yield* Fiber.join(healthy)
      const { failures } = yield* Fiber.join(failing)
      assert.deepStrictEqual(failures.map(({ index }) => index), [100])
      assert.deepInclude(failures[0].error.reason, { _tag: "ConnectionLost", isCulprit: true })
      yield* broker.setLatency(0)
    }).pipe(Effect.provide(Virtual.layer()), Effect.scoped))

  it.effect("is not taken for the cause when an operation on the same connection was", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.refuse({ on: "deleteQueue", replyCode: 540, replyText: "NOT_IMPLEMENTED - cannot delete queue" })
      yield* broker.setLatency("10 millis")
      const channel = yield* AmqpChannel.AmqpChannel
      yield* pass(3000)
      const deleting = yield* begin(
        Effect.forEach([1, 2, 3], () => Effect.flip(channel.deleteQueue("q")), { discard: true })
      )
      const publishing: Array<Fiber.Fiber<void, PublishError.PublishError>> = []
      for (let i = 0; i < 600; i++) {
        publishing.push(yield* begin(publish(paid(i, { priority: i % 10, messageId: `good-${i}` }))))
        yield* TestClock.adjust(5)
      }
      yield* pass(30_000)
      yield* Fiber.join(deleting)
      for (const fiber of publishing) yield* Fiber.join(fiber)
      yield* broker.setLatency(0)
    }).pipe(Effect.provide(
      Virtual.layer({ connection: { sessions: "shared" }, publisher: { confirmTimeout: "30 seconds" } })
    )))

  it.effect("in RabbitMQ since 4.0: one to a missing exchange with a long name that is not ASCII", () =>
    Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* pass(2000)
      const exchange = `${"\u00e9".repeat(100)}${"x".repeat(50)}`
      const publishing = yield* begin(
        Effect.flip(publisher.publishAll(batchWith({ exchange, routingKey: "x", body: "bad" }, 100)))
      )
      yield* pass(4500, 100)
      const { failures } = yield* Fiber.join(publishing)
      assert.deepStrictEqual(failures.map(({ index }) => index), [100])
      assert.deepInclude(failures[0].error.reason, { _tag: "ConnectionLost", isCulprit: true })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect.prop(
    "never costs a healthy message its confirm, under a load that comes by itself on two publishers",
    {
      script: Arbitrary.array(between(0, 39), { minLength: 20, maxLength: 80 }),
      latency: between(0, 15)
    },
    ({ latency, script }) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const publishers = [
          yield* AmqpPublisher.make({ confirmTimeout: "30 seconds" }),
          yield* AmqpPublisher.make({
            confirmTimeout: "30 seconds"
          })
        ]
        yield* broker.setLatency(latency)
        yield* broker.refuse({ on: "publish", messageId: "bad", replyCode: 541, replyText: "INTERNAL_ERROR" })
        yield* pass(2000)
        const good: Array<Fiber.Fiber<void, PublishError.PublishError>> = []
        const bad: Array<Fiber.Fiber<PublishError.PublishError, void>> = []
        for (const [index, draw] of script.entries()) {
          const publisher = publishers[draw % 2]!
          if (draw < 2) {
            bad.push(yield* begin(Effect.flip(publisher.publish(paid("x", { messageId: "bad", priority: draw })))))
          } else good.push(yield* begin(publisher.publish(paid(index, { messageId: `good-${index}` }))))
          yield* TestClock.adjust(draw)
        }
        yield* pass(6000, 200)
        yield* pass(25_000)
        for (const fiber of good) yield* Fiber.join(fiber)
        for (const fiber of bad) {
          const { reason } = yield* Fiber.join(fiber)
          assert.notStrictEqual(reason._tag, "ConfirmTimeout")
        }
        yield* broker.setLatency(0)
      }).pipe(Effect.scoped, Effect.provide(Virtual.layer(), { local: true })),
    { arbitrary: { runs: 15 } }
  )
})

describe("a message that the broker nacks", () => {
  it.effect.prop(
    "never costs a healthy message its confirm or a copy, under a load that comes by itself",
    {
      script: Arbitrary.array(between(0, 9), { minLength: 100, maxLength: 400 }),
      latency: between(1, 40),
      republish: between(0, 1)
    },
    ({ latency, republish, script }) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const full = AmqpTopology.queue("full", { maxLength: 1, overflow: "reject-publish" })
        yield* AmqpTopology.declare(AmqpTopology.make(full))
        const publisher = yield* AmqpPublisher.make({
          unconfirmed: republish === 1 ? "republish" : "fail",
          retryNacked: Schedule.spaced("20 millis").pipe(Schedule.upTo({ times: 3 }))
        })
        // Confirms that lag behind, as those of quorum queues do: what closes a channel too early takes them with it.
        yield* broker.delayConfirms(latency)
        const good: Array<Fiber.Fiber<void, PublishError.PublishError>> = []
        for (const [index, draw] of script.entries()) {
          if (draw === 0) {
            yield* begin(Effect.exit(publisher.publish({ routingKey: "full", body: index })))
          } else good.push(yield* begin(publisher.publish(paid(index, { messageId: `good-${index}` }))))
          yield* TestClock.adjust(draw % 3)
        }
        yield* pass(5000, 100)
        for (const fiber of good) yield* Fiber.join(fiber)
        for (const [id, count] of yield* copies) if (id.startsWith("good-")) assert.strictEqual(count, 1, id)
      }).pipe(Effect.provide(Virtual.layer(), { local: true })),
    { arbitrary: { runs: 25 } }
  )
})

describe("many messages that each close the connection", () => {
  const bad = (n: number) => paid("x", { messageId: `bad-${n}`, priority: n % 256, headers: { [`header-${n}`]: n } })

  const poisoned = (count: number) =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      for (let n = 0; n < count; n++) {
        yield* broker.refuse({ on: "publish", messageId: `bad-${n}`, replyCode: 541, replyText: "INTERNAL_ERROR" })
      }
      return broker
    })

  it.effect.each([0, 5])(
    "do not end a connection with %s retries, nor a neighbour, and each fails itself",
    (max) =>
      Effect.gen(function*() {
        const count = 30
        yield* poisoned(count)
        const connection = yield* AmqpConnection.AmqpConnection
        const one = yield* AmqpPublisher.make({ confirmTimeout: "10 minutes" })
        const other = yield* AmqpPublisher.make({ confirmTimeout: "10 minutes" })
        const queue = yield* AmqpChannel.AmqpChannel
        yield* pass(5000)
        const failing = yield* begin(
          Effect.flip(one.publishAll([
            ...Array.from({ length: 100 }, (_, n) => paid(n, { messageId: `good-${n}` })),
            ...Array.from({ length: count }, (_, n) => bad(n))
          ]))
        )
        const added = yield* begin(AmqpPublisher.make())
        yield* pass(120_000, 250)
        const { confirmed, failures } = yield* Fiber.join(failing)
        assert.strictEqual(confirmed, 100)
        assert.strictEqual(failures.length, count)
        for (const { error } of failures) {
          assert.deepInclude(error.reason, { _tag: "ConnectionLost", isCulprit: true })
        }
        assert.strictEqual((yield* connection.state)._tag, "Connected")
        yield* Fiber.join(added)
        for (const publisher of [one, other]) yield* publisher.publish(paid("y"))
        yield* queue.checkQueue(Virtual.invoices)
      }).pipe(
        Effect.scoped,
        Effect.provide(Virtual.layer({ connection: { sessions: "shared", retry: { interval: "1 second", max } } }))
      )
  )

  it.effect("that come without an end do not end it either", () =>
    Effect.gen(function*() {
      const count = 100
      yield* poisoned(count)
      const connection = yield* AmqpConnection.AmqpConnection
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const fibers: Array<Fiber.Fiber<PublishError.PublishError, void>> = []
      for (let n = 0; n < count; n++) {
        fibers.push(yield* begin(Effect.flip(publisher.publish(bad(n)))))
        yield* pass(500, 100)
      }
      yield* pass(60_000, 250)
      for (const fiber of fibers) {
        const { reason } = yield* Fiber.join(fiber)
        assert.include(["ConnectionLost", "ConfirmTimeout"], reason._tag)
      }
      assert.strictEqual((yield* connection.state)._tag, "Connected")
      yield* publisher.publish(paid("y"))
    }).pipe(
      Effect.scoped,
      Effect.provide(Virtual.layer({ connection: { retry: { interval: "1 second", max: 5 } } }))
    ))
})
