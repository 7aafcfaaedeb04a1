import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Logger,
  Metric,
  Redacted,
  References,
  Schedule,
  Schema,
  Scope,
  Stream,
  Tracer
} from "effect"
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpDriver,
  AmqpPublisher,
  AmqpTopology,
  CurrentDriver
} from "effect-amqp"
import type { AmqpDelivery, AmqpMessage } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"

const dead = AmqpTopology.queue("dead")
const work = AmqpTopology.queue("work", { deadLetterExchange: "", deadLetterRoutingKey: "dead" })
const topology = AmqpTopology.make(work, dead)

const client = (options?: AmqpConnection.Options) =>
  Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpTopology.layer(topology)),
    Layer.provideMerge(AmqpConnection.layer(options))
  )

/** Run a test in a scope that ends before the connection does, as an application's does. */
const onMemory = <A, E, R>(test: Effect.Effect<A, E, R>, broker = AmqpMemory.layer) =>
  test.pipe(Effect.scoped, Effect.provide(client().pipe(Layer.provideMerge(broker))))

// What goes to and fro takes turns of the scheduler, and the clock does not wait for them by itself.
const settled = Effect.repeat(TestClock.adjust(0), { times: 19 })

/** Let time pass in steps small enough that everything happens when it is due. */
const pass = (millis: number, step = 1000): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* settled
    for (let left = millis; left > 0; left -= step) {
      yield* TestClock.adjust(Math.min(left, step))
      yield* settled
    }
  })

const send = (...bodies: ReadonlyArray<AmqpMessage.Body>) => sendWith({}, ...bodies)

const sendWith = (rest: Partial<AmqpMessage.Message>, ...bodies: ReadonlyArray<AmqpMessage.Body>) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    for (const body of bodies) yield* publisher.publish({ routingKey: "work", ...rest, body })
    yield* settled
  })

/** A message of another client, which sends what ours would refuse. */
const sendForeign = Effect.fnUntraced(function*(properties: AmqpDriver.WireProperties) {
  const driver = yield* CurrentDriver.CurrentDriver
  const connection = yield* driver.connect({
    host: "localhost",
    port: 5672,
    tls: undefined,
    vhost: "/",
    username: "guest",
    password: Redacted.make("guest"),
    heartbeat: 0,
    connectionName: "foreign"
  }, { onBlocked() {}, onUnblocked() {}, onClose() {} })
  const channel = yield* connection.openChannel({ confirm: false }, AmqpDriver.noChannelEvents)
  channel.publishUnsafe({ exchange: "", routingKey: "work", mandatory: false, properties, body: new Uint8Array() })
  yield* channel.close
  yield* connection.close
  yield* settled
})

const ready = (queue: string) => Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.depth(queue))

const unacked = Effect.map(
  Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.queue("work")),
  (queue) => queue?.unacked
)

const consumers = Effect.map(
  Effect.flatMap(AmqpConnection.AmqpConnection, (connection) => connection.health),
  (health) => health.consumers
)

/** A metric of the consumers of the queue, as it is told to whoever collects metrics. */
const metric = (id: string, policy?: string) =>
  Effect.map(Metric.snapshot, (snapshot) => {
    const found = snapshot.find((metric) => {
      const attributes = metric.attributes as Record<string, string> | undefined
      return metric.id === id && attributes?.["queue"] === "work" && attributes["policy"] === policy
    })
    return found?.type === "Counter" ? found.state.count : found?.type === "Gauge" ? found.state.value : undefined
  })

const withOwnMetrics = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => Effect.provideService(test, Metric.MetricRegistry, new Map()))

/** What is logged meanwhile, as messages with their annotations. */
const logging = (lines: Array<{ readonly message: string; readonly annotations: Readonly<Record<string, unknown>> }>) =>
  Logger.layer([
    Logger.make(({ fiber, message }) => {
      const [text] = Array.isArray(message) ? message : [message]
      lines.push({ message: String(text), annotations: fiber.getRef(References.CurrentLogAnnotations) })
    })
  ])

describe("AmqpConsumer", () => {
  describe("a handler's outcome", () => {
    it.effect("success acknowledges the message", () =>
      onMemory(Effect.gen(function*() {
        const handled: Array<string> = []
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.map(delivery.text, (text) => handled.push(text))
        )
        yield* send("a", "b", "c")
        assert.deepStrictEqual(handled, ["a", "b", "c"])
        assert.strictEqual(yield* unacked, 0)
        assert.strictEqual(yield* ready("work"), 0)
        assert.strictEqual((yield* consumer.counts).acked, 3)
      })))

    it.effect("a typed failure dead-letters the message by default", () =>
      onMemory(Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make(work, () => Effect.fail("no"))
        yield* send("a")
        assert.strictEqual(yield* ready("dead"), 1)
        assert.deepInclude(yield* consumer.counts, { deadLettered: 1, acked: 0 })
      })))

    it.effect("a typed failure requeues the message if the policy says so", () =>
      onMemory(Effect.gen(function*() {
        const attempts: Array<number> = []
        yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.suspend(() => attempts.push(delivery.attempts) < 3 ? Effect.fail("no") : Effect.void),
          { onFailure: "requeue" }
        )
        yield* send("a")
        assert.deepStrictEqual(attempts, [1, 2, 2])
        assert.deepStrictEqual([yield* ready("work"), yield* ready("dead"), yield* unacked], [0, 0, 0])
      })))

    it.effect("a policy that is a function decides by the error and the delivery", () =>
      onMemory(Effect.gen(function*() {
        const seen: Array<string> = []
        yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.flatMap(delivery.text, (text) => delivery.redelivered ? Effect.void : Effect.fail(text)),
          {
            onFailure(error, delivery) {
              seen.push(`${String(error)} ${delivery.attempts}`)
              return error === "bad" ? "deadLetter" : "requeue"
            }
          }
        )
        yield* send("bad", "busy")
        assert.deepStrictEqual(seen, ["bad 1", "busy 1"])
        assert.deepStrictEqual([yield* ready("dead"), yield* unacked], [1, 0])
      })))

    it.effect("an undecodable body goes to the policy as a DecodeError", () =>
      onMemory(Effect.gen(function*() {
        const Order = Schema.Struct({ id: Schema.Int })
        const policy: Array<string> = []
        const ids: Array<number> = []
        yield* AmqpConsumer.make(
          work,
          Effect.fnUntraced(function*(delivery) {
            ids.push((yield* delivery.json(Order)).id)
          }),
          {
            onFailure(error) {
              policy.push(error._tag)
              return "deadLetter"
            }
          }
        )
        yield* send("{", { id: "x" }, { id: 7 })
        assert.deepStrictEqual(policy, ["DecodeError", "DecodeError"])
        assert.deepStrictEqual(ids, [7])
        assert.strictEqual(yield* ready("dead"), 2)
      })))

    for (
      const [how, handler] of [
        ["a defect", () => Effect.die(new Error("boom"))],
        ["a throw of the function that makes it", () => {
          throw new Error("boom")
        }]
      ] as const
    ) {
      it.effect(`${how} dead-letters the message, is logged, and costs nobody else anything`, () => {
        const lines: Parameters<typeof logging>[0] = []
        return onMemory(Effect.gen(function*() {
          let handled = 0
          yield* AmqpConsumer.make(
            work,
            (delivery) =>
              Effect.flatMap(delivery.text, (text) => text === "bad" ? handler() : Effect.sync(() => handled++)),
            { concurrency: 10, onFailure: "requeue" }
          )
          yield* send("good", "bad", "good")
          assert.deepStrictEqual([handled, yield* ready("dead"), yield* unacked], [2, 1, 0])
          assert.isTrue(lines.some(({ message }) => message.startsWith("AMQP handler died")))
        })).pipe(Effect.provide(logging(lines)))
      })
    }

    it.effect("a policy that throws dead-letters the message", () =>
      onMemory(Effect.gen(function*() {
        yield* AmqpConsumer.make(work, () => Effect.fail("no"), {
          onFailure() {
            throw new Error("boom")
          }
        })
        yield* send("a")
        assert.deepStrictEqual([yield* ready("dead"), yield* unacked], [1, 0])
      })))

    it.effect("a handler that always interrupts itself gets a message once more, and then it is dead-lettered", () =>
      onMemory(Effect.gen(function*() {
        let runs = 0
        yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sync(() => runs++), Effect.interrupt))
        yield* send("a")
        assert.deepStrictEqual([runs, yield* ready("dead")], [2, 1])
      })))

    it.effect("a handler that runs longer than its timeout is interrupted, and its policy decides", () =>
      onMemory(Effect.gen(function*() {
        const failures: Array<unknown> = []
        let interrupted = 0
        yield* AmqpConsumer.make(
          work,
          () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)),
          {
            handlerTimeout: "5 seconds",
            onFailure(error) {
              failures.push(error)
              return "deadLetter"
            }
          }
        )
        yield* send("a")
        yield* pass(4999)
        assert.strictEqual(interrupted, 0)
        yield* pass(1)
        assert.strictEqual(interrupted, 1)
        assert.deepInclude(failures[0], { _tag: "HandlerTimeout", millis: 5000, queue: "work" })
        assert.strictEqual(yield* ready("dead"), 1)
      })))

    it.effect("what a handler acquires is released before its message is settled, and not when the consumer ends", () =>
      onMemory(Effect.gen(function*() {
        const held: Array<string> = []
        yield* Layer.build(AmqpConsumer.layer(
          work,
          Effect.fnUntraced(function*(delivery) {
            const text = yield* Effect.acquireRelease(
              Effect.tap(delivery.text, (text) => Effect.sync(() => held.push(text))),
              (text) =>
                Effect.sync(() => {
                  held.splice(held.indexOf(text), 1)
                  assert.isFalse(delivery.isSettled, `${text} was settled while its handler held something`)
                })
            )
            yield* Effect.sleep("1 second")
            if (text === "fails") yield* Effect.fail("no")
          }),
          { concurrency: 2, handlerTimeout: "5 seconds" }
        ))
        yield* send("works", "fails")
        assert.deepStrictEqual(held, ["works", "fails"])
        yield* pass(1000)
        assert.deepStrictEqual(held, [])
        assert.deepStrictEqual([yield* unacked, yield* ready("dead")], [0, 1])
      })))

    it.effect("a handler that acknowledges by itself is not acknowledged a second time", () =>
      onMemory(Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make(work, (delivery) => delivery.ack())
        yield* send("a", "b")
        assert.strictEqual(yield* unacked, 0)
        assert.strictEqual((yield* consumer.health)._tag, "Attached")
        assert.strictEqual((yield* consumer.counts).acked, 0)
      })))
  })

  describe("concurrency", () => {
    it.effect("no more handlers run at once than it says, and no more messages are out than the prefetch", () =>
      onMemory(Effect.gen(function*() {
        let most = 0
        let running = 0
        const consumer = yield* AmqpConsumer.make(
          work,
          () =>
            Effect.acquireUseRelease(
              Effect.sync(() => most = Math.max(most, ++running)),
              () => Effect.sleep("1 second"),
              () => Effect.sync(() => running--)
            ),
          { concurrency: 3, prefetch: 5 }
        )
        yield* send(...Array.from({ length: 12 }, (_, i) => i))
        assert.deepStrictEqual([yield* unacked, yield* ready("work")], [5, 7])
        assert.strictEqual((yield* consumer.counts).inProgress, 3)
        yield* pass(4000)
        assert.deepStrictEqual([most, (yield* consumer.counts).acked, yield* unacked], [3, 12, 0])
      })))

    it.effect("at concurrency 1 the order of the queue is kept", () =>
      onMemory(Effect.gen(function*() {
        const order: Array<string> = []
        yield* AmqpConsumer.make(
          work,
          Effect.fnUntraced(function*(delivery) {
            const text = yield* delivery.text
            yield* Effect.sleep(Number(text))
            order.push(text)
          })
        )
        yield* send("30", "10", "20", "0")
        yield* pass(1000)
        assert.deepStrictEqual(order, ["30", "10", "20", "0"])
      })))

    it.effect("with orderedBy, messages of one key keep their order and others overtake them", () =>
      onMemory(Effect.gen(function*() {
        const order: Array<string> = []
        yield* AmqpConsumer.make(
          work,
          Effect.fnUntraced(function*(delivery) {
            const text = yield* delivery.text
            yield* Effect.sleep(Number(text.slice(1)))
            order.push(text)
          }),
          { concurrency: 10, orderedBy: (delivery) => String.fromCharCode(delivery.body[0]!) }
        )
        yield* send("a50", "a10", "b20", "a1", "b1")
        yield* pass(1000)
        assert.deepStrictEqual(order, ["b20", "b1", "a50", "a10", "a1"])
        assert.strictEqual(yield* unacked, 0)
      })))

    it.effect("with orderedBy, messages without a key are handled one by one too", () =>
      onMemory(Effect.gen(function*() {
        let handled = 0
        yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => handled++)), {
          concurrency: 3,
          orderedBy: (delivery) => delivery.properties.correlationId!
        })
        yield* send("a", "b", "c")
        yield* pass(1000)
        assert.strictEqual(handled, 1)
        yield* pass(2000)
        assert.deepStrictEqual([handled, yield* unacked], [3, 0])
      })))

    it.effect("a function for orderedBy that throws dead-letters the message, and no other", () =>
      onMemory(Effect.gen(function*() {
        let handled = 0
        yield* AmqpConsumer.make(work, () => Effect.sync(() => handled++), {
          concurrency: 2,
          orderedBy: (delivery) => JSON.parse(new TextDecoder().decode(delivery.body)).key
        })
        yield* send("{", { key: "a" }, { key: "a" })
        assert.deepStrictEqual([handled, yield* ready("dead"), yield* unacked], [2, 1, 0])
      })))

    it.effect("acknowledgements out of order never acknowledge a message whose handler still runs", () =>
      onMemory(Effect.gen(function*() {
        const gate = Latch.makeUnsafe(false)
        // They are all there when the consumer starts, so that they are handled, and acknowledged, in one turn.
        yield* send("a", "slow", "b", "c", "d")
        yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.flatMap(delivery.text, (text) => text === "slow" ? gate.await : Effect.void),
          { concurrency: 5 }
        )
        yield* settled
        assert.strictEqual(yield* unacked, 1)
        yield* gate.open
        yield* settled
        assert.strictEqual(yield* unacked, 0)
      })))

    it.effect("a handler that refuses all messages up to its own refuses none that was handled", () =>
      onMemory(Effect.gen(function*() {
        const seen: Array<string> = []
        yield* send("a", "b", "c")
        yield* AmqpConsumer.make(
          work,
          Effect.fnUntraced(function*(delivery) {
            const text = yield* delivery.text
            seen.push(text)
            if (text === "c" && !delivery.redelivered) yield* delivery.nack({ multiple: true, requeue: true })
          }),
          { concurrency: 3 }
        )
        yield* settled
        assert.deepStrictEqual(seen, ["a", "b", "c", "c"])
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
      })))
  })

  describe("the broker's delivery acknowledgement timeout", () => {
    it.effect("is warned of at 80 % of it, once for each message", () => {
      const lines: Parameters<typeof logging>[0] = []
      const warnings = () => lines.filter(({ message }) => message.includes("acknowledgement timeout"))
      return onMemory(Effect.gen(function*() {
        yield* AmqpConsumer.make(work, () => Effect.sleep("29 minutes"))
        yield* pass(600_000, 10_000)
        yield* sendWith({ messageId: "m" }, "a")
        yield* pass(1_439_000, 10_000)
        assert.strictEqual(warnings().length, 0)
        yield* pass(1000)
        assert.strictEqual(warnings().length, 1)
        assert.deepInclude(warnings()[0]!.annotations, { queue: "work", messageId: "m", deliveryTag: 1 })
        yield* pass(300_000, 10_000)
        assert.deepStrictEqual([warnings().length, yield* unacked, yield* ready("work")], [1, 0, 0])
      })).pipe(Effect.provide(logging(lines)))
    })

    it.effect("if asked for, what has been out that long is requeued, whether its handler has begun or not", () =>
      onMemory(Effect.gen(function*() {
        const begun: Array<string> = []
        yield* AmqpConsumer.make(
          work,
          (delivery) =>
            Effect.andThen(
              Effect.map(delivery.text, (text) => begun.push(text)),
              delivery.redelivered ? Effect.void : Effect.never
            ),
          { ackTimeout: "10 seconds", whenAckTimeout: "interrupt" }
        )
        yield* send("a", "b")
        yield* pass(7999)
        assert.deepStrictEqual(begun, ["a"])
        yield* pass(1)
        assert.deepStrictEqual([...begun].sort(), ["a", "a", "b"])
        assert.strictEqual(yield* unacked, 0)
      })))

    it.effect("if asked for, costs no message the time of its handler because of those before it", () =>
      onMemory(Effect.gen(function*() {
        const finished = new Set<string>()
        let runs = 0
        yield* AmqpConsumer.make(
          work,
          Effect.fnUntraced(function*(delivery) {
            yield* ++runs === 1 ? Effect.never : Effect.sleep("3 seconds")
            finished.add(yield* delivery.text)
          }),
          { ackTimeout: "10 seconds", whenAckTimeout: "interrupt" }
        )
        // The first one hangs, and each of the others would begin a second before its time is over.
        for (const text of ["a", "b", "c", "d", "e", "f", "g", "h"]) {
          yield* send(text)
          yield* pass(1000)
        }
        yield* pass(60_000)
        assert.strictEqual([...finished].sort().join(""), "abcdefgh")
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
      })))
  })

  describe("supervision", () => {
    const comesBackAfter = (
      fault: (broker: AmqpMemory.AmqpMemory["Service"]) => Effect.Effect<unknown, unknown, AmqpChannel.AmqpChannel>
    ) =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const handled: Array<string> = []
        yield* AmqpConsumer.make(work, (delivery) => Effect.map(delivery.text, (text) => handled.push(text)), {
          prefetch: 7,
          arguments: { "x-priority": 3 }
        })
        yield* send("before")
        yield* fault(broker)
        yield* pass(10_000)
        assert.strictEqual((yield* consumers)[0]?._tag, "Attached")
        yield* send(...Array.from({ length: 9 }, (_, i) => `after ${i}`))
        assert.strictEqual(handled.length, 10)
        assert.strictEqual((yield* broker.queue("work"))?.consumers, 1)
      }))

    it.effect("a consumer comes back after its connection was cut", () =>
      comesBackAfter((broker) => broker.cutConnections))
    it.effect("a consumer comes back after an operator closed the connections", () =>
      comesBackAfter((broker) => broker.forceClose("maintenance")))
    it.effect("a consumer comes back after a restart of the broker", () =>
      comesBackAfter((broker) => broker.crash.pipe(Effect.andThen(pass(5000)), Effect.andThen(broker.start))))
    for (const replyCode of [404, 405, 406, 403]) {
      it.effect(`a consumer comes back after its channel was closed with ${replyCode}`, () =>
        comesBackAfter((broker) => broker.closeChannels({ replyCode, replyText: "some reason" })))
    }
    it.effect("a consumer comes back after the broker cancelled it", () =>
      comesBackAfter((broker) => broker.cancelConsumers("work")))
    it.effect("a consumer comes back after its queue was deleted and declared again", () =>
      comesBackAfter(() =>
        Effect.gen(function*() {
          const channel = yield* AmqpChannel.AmqpChannel
          yield* channel.deleteQueue(work)
          yield* pass(20_000)
          yield* channel.declareQueue(work)
        })
      ))

    it.effect("an acknowledgement of a lost channel is counted and dropped, and its message comes again once", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const gates = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
        const seen: Array<string> = []
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) =>
            Effect.flatMap(delivery.text, (text) => {
              seen.push(`${text} ${delivery.redelivered}`)
              return text === "c" && !delivery.redelivered
                ? gates[0]!.await
                : text === "d"
                ? gates[1]!.await
                : Effect.void
            }),
          { concurrency: 2 }
        )
        yield* send("c")
        yield* broker.cutConnections
        yield* pass(2000)
        yield* send("d")
        assert.deepStrictEqual(seen, ["c false", "c true", "d false"])
        // The old handler ends now; its tag 1 means another message on the new channel.
        yield* gates[0]!.open
        yield* settled
        assert.strictEqual(yield* unacked, 1)
        assert.deepInclude(yield* consumer.counts, { stale: 1, acked: 1 })
        yield* gates[1]!.open
        yield* settled
        assert.deepStrictEqual([yield* unacked, yield* ready("work")], [0, 0])
      })))

    it.effect("an acknowledgement that was due when its channel was lost is counted as stale, and not as acked", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        let finish = () => {}
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) =>
            delivery.redelivered
              ? Effect.void
              : Effect.callback<void>((resume) => {
                finish = () => resume(Effect.void)
              })
        )
        yield* send("a")
        // It ends in the turn in which the client hears of the cut, and before it does.
        yield* Effect.andThen(broker.cutConnections, Effect.sync(() => finish()))
        yield* pass(5000)
        assert.deepStrictEqual([yield* unacked, yield* ready("work")], [0, 0])
        assert.deepInclude(yield* consumer.counts, { delivered: 2, acked: 1, stale: 1 })
        assert.strictEqual(yield* metric("amqp_consumer_acked"), 1)
      })).pipe(withOwnMetrics))

    it.effect("what no handler had begun with when the channel was lost is handled once", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const seen: Array<string> = []
        yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.andThen(Effect.map(delivery.text, (text) => seen.push(text)), Effect.sleep("1 second"))
        )
        yield* send("a", "b", "c")
        yield* broker.cutConnections
        yield* pass(10_000)
        assert.deepStrictEqual(seen, ["a", "a", "b", "c"])
      })))

    it.effect("a consumer of a queue that does not exist fails at once", () =>
      onMemory(Effect.gen(function*() {
        const error = yield* Effect.flip(AmqpConsumer.run("nowhere", () => Effect.void))
        assert.strictEqual(error.reason._tag, "NotFound")
        assert.deepStrictEqual(yield* consumers, [])
      })))

    it.effect("a consumer whose queue stays deleted says so, and ends with NotFound after three heartbeats", () =>
      onMemory(Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const running = yield* Effect.forkChild(AmqpConsumer.run(work, () => Effect.void), { startImmediately: true })
        yield* pass(60_000)
        yield* channel.deleteQueue(work)
        yield* pass(29_000)
        const [health] = yield* consumers
        assert.strictEqual(health?._tag, "Detached")
        assert.deepInclude(health, { since: new Date(60_000), ended: false })
        assert.strictEqual(health?._tag === "Detached" ? health.cause?.reason._tag : undefined, "NotFound")
        yield* pass(5000)
        const error = yield* Effect.flip(Fiber.join(running))
        assert.strictEqual(error.reason._tag, "NotFound")
      })))

    it.effect("a consumer that has ended does not come back, also when its queue does", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const channel = yield* AmqpChannel.AmqpChannel
        const consumer = yield* AmqpConsumer.make(work, () => Effect.void)
        yield* channel.deleteQueue(work)
        yield* pass(60_000)
        assert.strictEqual((yield* Effect.flip(consumer.ended)).reason._tag, "NotFound")
        yield* channel.declareQueue(work)
        yield* broker.cutConnections
        yield* pass(10_000)
        assert.strictEqual((yield* broker.queue("work"))?.consumers, 0)
        assert.deepInclude(yield* consumer.health, { _tag: "Detached", ended: true })
      })))

    it.effect("a consumer that could not be made leaves nothing behind in its scope", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const before = yield* broker.counts
        for (let attempt = 0; attempt < 3; attempt++) {
          const error = yield* Effect.flip(AmqpConsumer.make("nowhere", () => Effect.void, {
            onFailure: AmqpConsumer.retry(Schedule.recurs(1))
          }))
          assert.strictEqual(error.reason._tag, "NotFound")
        }
        assert.deepStrictEqual(yield* consumers, [])
        assert.deepStrictEqual(yield* broker.counts, before)
      })))

    it.effect("a queue that another consumer has for itself is tried again for three heartbeats", () =>
      onMemory(Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(AmqpConsumer.make(work, () => Effect.void, { exclusive: true }), scope)
        const second = yield* Effect.forkChild(AmqpConsumer.make(work, () => Effect.void, { exclusive: true }), {
          startImmediately: true
        })
        yield* pass(20_000)
        assert.isUndefined(second.pollUnsafe())
        yield* Scope.close(scope, Exit.void)
        yield* pass(2000)
        yield* Fiber.join(second)

        const third = yield* Effect.forkChild(
          Effect.flip(AmqpConsumer.make(work, () => Effect.void, { exclusive: true })),
          {
            startImmediately: true
          }
        )
        yield* pass(31_000)
        assert.strictEqual((yield* Fiber.join(third)).reason._tag, "ResourceLocked")
      })))

    it.effect("a consumer ends with ReconnectAbandoned when the connection gives up", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const running = yield* Effect.forkChild(AmqpConsumer.run(work, () => Effect.void), { startImmediately: true })
        yield* settled
        yield* broker.refuseConnects(100)
        yield* broker.cutConnections
        yield* pass(10_000)
        assert.strictEqual((yield* Effect.flip(Fiber.join(running))).reason._tag, "ReconnectAbandoned")
      }).pipe(
        Effect.scoped,
        Effect.provide(client({ retry: { interval: "1 second", max: 3 } }).pipe(Layer.provideMerge(AmqpMemory.layer)))
      ))

    it.effect("an alarm that blocks the publisher does not stop acknowledgements", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        let handled = 0
        yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => handled++)))
        yield* send("a", "b", "c")
        yield* broker.block()
        const blocked = yield* Effect.forkChild(Effect.exit(send("d")), { startImmediately: true })
        yield* pass(4000)
        assert.deepStrictEqual([handled, yield* unacked], [3, 0])
        yield* broker.unblock
        yield* pass(2000)
        yield* Fiber.join(blocked)
        assert.strictEqual(handled, 4)
      })))
  })

  describe("health", () => {
    it.effect("says that a consumer is attached, since when and on which session, and nothing after it ended", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* pass(1000)
        const scope = yield* Scope.make()
        const consumer = yield* Scope.provide(AmqpConsumer.make(work, () => Effect.void), scope)
        const before = yield* consumer.health
        assert.deepInclude(before, { _tag: "Attached", queue: "work", since: new Date(1000) })
        yield* broker.refuseConnects(4)
        yield* broker.cutConnections
        yield* pass(1000)
        const [during] = yield* consumers
        assert.strictEqual(during?._tag === "Detached" ? during.cause?.reason._tag : undefined, "ConnectionLost")
        yield* pass(5000)
        const after = yield* consumer.health
        assert.strictEqual(after._tag, "Attached")
        assert.isAbove(
          after._tag === "Attached" ? after.epoch : 0,
          before._tag === "Attached" ? before.epoch : Number.POSITIVE_INFINITY
        )
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* consumers, [])
      })))
  })

  describe("the end of its scope", () => {
    it.effect("lets running handlers finish, acknowledges them, releases the rest, and reports both", () => {
      const lines: Parameters<typeof logging>[0] = []
      return onMemory(Effect.gen(function*() {
        let finished = 0
        const scope = yield* Scope.make()
        yield* AmqpConsumer.make(
          work,
          () => Effect.andThen(Effect.sleep("5 seconds"), Effect.sync(() => finished++)),
          { concurrency: 3 }
        ).pipe(Scope.provide(scope))
        yield* send(1, 2, 3, 4, 5)
        yield* pass(1000)
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* pass(10_000)
        yield* Fiber.join(closing)
        assert.deepStrictEqual([finished, yield* ready("work"), yield* unacked], [3, 2, 0])
        assert.isTrue(lines.some(({ message }) => message === "AMQP consumer drained"))
      })).pipe(Effect.provide(logging(lines)))
    })

    it.effect("cancels first, acknowledges then, and closes the channel at last", () => {
      const frames: Array<string> = []
      return onMemory(
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          yield* AmqpConsumer.make(work, () => Effect.sleep("1 second"), { concurrency: 2 }).pipe(Scope.provide(scope))
          yield* send("a", "b")
          frames.length = 0
          const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
          yield* pass(2000)
          yield* Fiber.join(closing)
          const sent = frames.filter((frame) => frame.includes("→")).map((frame) => /→ (\S+)/.exec(frame)?.[1])
          assert.deepStrictEqual(sent, ["basic.cancel", "basic.ack", "basic.ack", "channel.close"])
        }),
        AmqpMemory.layerLogged
      ).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => frames.push(String(message)))])))
    })

    it.effect("interrupts handlers at the deadline, and their messages come again", () =>
      onMemory(Effect.gen(function*() {
        let interrupted = 0
        const scope = yield* Scope.make()
        yield* AmqpConsumer.make(
          work,
          () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)),
          { concurrency: 2, drainTimeout: "3 seconds" }
        ).pipe(Scope.provide(scope))
        yield* send("a", "b", "c")
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* pass(2999)
        assert.strictEqual(interrupted, 0)
        yield* pass(1)
        yield* Fiber.join(closing)
        assert.deepStrictEqual([interrupted, yield* ready("work"), yield* unacked], [2, 3, 0])
      })))

    it.effect("is bounded also when a handler cannot be interrupted and the broker does not answer", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        const forever = Latch.makeUnsafe(false)
        yield* AmqpConsumer.make(work, () => Effect.uninterruptible(forever.await), { drainTimeout: "3 seconds" })
          .pipe(Scope.provide(scope))
        yield* send("a")
        yield* broker.stopAnswering()
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        // Cancel 10 seconds, drain 3, grace 1, channel close 5.
        yield* pass(20_000)
        assert.isDefined(closing.pollUnsafe())
        yield* broker.resumeAnswering
        yield* forever.open
        yield* pass(20_000)
      })))

    it.effect("takes no messages when the consumer was on its way to the broker", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        yield* AmqpConsumer.make(work, () => Effect.sleep("20 seconds")).pipe(Scope.provide(scope))
        yield* send("a", "b", "c")
        yield* broker.setLatency("500 millis")
        yield* broker.cutConnections
        yield* Effect.repeat(pass(50, 50), { until: () => Effect.map(unacked, (count) => count === 3) })
        assert.strictEqual((yield* consumers)[0]?._tag, "Detached")
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* pass(3000, 100)
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [3, 0])
        assert.isUndefined(closing.pollUnsafe())
        yield* broker.setLatency(0)
        yield* pass(30_000)
        yield* Fiber.join(closing)
      })))

    it.effect("leaves nothing behind", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* Effect.gen(function*() {
          yield* AmqpConsumer.make(work, () => Effect.sleep("1 second"), { concurrency: 5 })
          yield* send(1, 2, 3)
          yield* pass(2000)
        }).pipe(Effect.scoped, Effect.provide(client()))
        yield* pass(60_000)
        assert.deepStrictEqual(yield* broker.leftovers, [])
      }).pipe(Effect.provide(AmqpMemory.layer)))

    it.effect("of a run that is interrupted drains too", () =>
      onMemory(Effect.gen(function*() {
        let finished = 0
        const running = yield* Effect.forkChild(
          AmqpConsumer.run(work, () => Effect.andThen(Effect.sleep("5 seconds"), Effect.sync(() => finished++))),
          { startImmediately: true }
        )
        yield* settled
        yield* send("a")
        const stopping = yield* Effect.forkChild(Fiber.interrupt(running), { startImmediately: true })
        yield* pass(6000)
        yield* Fiber.join(stopping)
        assert.deepStrictEqual([finished, yield* ready("work")], [1, 0])
      })))
  })

  describe("retry", () => {
    const fiveTimes = AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))

    it.effect("tries again after exactly the delays of its schedule, and parks then", () =>
      onMemory(Effect.gen(function*() {
        const attempts: Array<readonly [attempt: number, at: number]> = []
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) =>
            Effect.clockWith((clock) => {
              attempts.push([delivery.attempts, clock.currentTimeMillisUnsafe()])
              return Effect.fail("no")
            }),
          { onFailure: fiveTimes }
        )
        yield* send("a")
        yield* pass(3_600_000, 10_000)
        assert.deepStrictEqual(attempts, [[1, 0], [2, 1000], [3, 3000], [4, 7000], [5, 15_000], [6, 31_000]])
        assert.deepStrictEqual([yield* ready("work.parked"), yield* ready("dead"), yield* unacked], [1, 0, 0])
        assert.deepInclude(yield* consumer.counts, { retried: 5, parked: 1, acked: 0, deadLettered: 0 })
      })))

    it.effect("keeps body, properties, exchange and routing key, and adds only its own headers", () =>
      onMemory(Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const orders = AmqpTopology.exchange("orders", { type: "topic" })
        yield* AmqpTopology.declare(AmqpTopology.make(orders, work, AmqpTopology.bind(work, orders, "order.*")))
        const seen: Array<AmqpDelivery.Delivery> = []
        yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.suspend(() => seen.push(delivery) === 1 ? Effect.fail("no") : Effect.void),
          { onFailure: AmqpConsumer.retry(Schedule.recurs(1)) }
        )
        yield* sendWith({
          exchange: orders,
          routingKey: "order.42",
          headers: { tenant: "x", nested: { at: new Date(5000) } },
          messageId: "m",
          correlationId: "c",
          replyTo: "r",
          type: "t",
          appId: "a",
          userId: "guest",
          contentEncoding: "identity",
          priority: 3,
          timestamp: new Date(7000),
          persistent: false
        }, { id: 42 })
        yield* pass(1000)
        const [first, second] = seen
        assert.deepStrictEqual(second?.body, first?.body)
        assert.deepStrictEqual([second?.exchange, second?.routingKey, second?.attempts], ["orders", "order.42", 2])
        const { headers: firstHeaders, ...firstProperties } = first!.properties
        const { headers: secondHeaders, ...secondProperties } = second!.properties
        assert.deepInclude(firstProperties, secondProperties)
        assert.deepInclude({ ...secondHeaders }, { ...firstHeaders })
        assert.strictEqual((yield* channel.checkQueue("work.retry.0")).messageCount, 0)
      })))

    it.effect("can be chosen by a function, and its queues are declared then", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpConsumer.make(work, (delivery) => Effect.flatMap(delivery.text, Effect.fail), {
          onFailure: (error) => error === "later" ? fiveTimes : "deadLetter"
        })
        yield* send("never")
        assert.isUndefined(yield* broker.queue("work.retry.1000"))
        yield* send("later", "later")
        assert.strictEqual((yield* broker.queue("work.retry.1000"))?.ready, 2)
        assert.strictEqual(yield* ready("dead"), 1)
      })))

    it.effect("requeues after a pause what cannot be put into its wait queue", () =>
      onMemory(Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        let runs = 0
        yield* AmqpConsumer.make(
          work,
          () => Effect.suspend(() => ++runs < 3 ? Effect.fail("no") : Effect.void),
          { onFailure: fiveTimes }
        )
        yield* channel.deleteQueue("work.retry.1000")
        yield* send("a")
        assert.strictEqual(runs, 1)
        yield* pass(999)
        assert.strictEqual(runs, 1)
        yield* pass(10_000)
        assert.deepStrictEqual([runs, yield* unacked], [3, 0])
      })))

    for (
      const [what, onFailure] of [
        ["", fiveTimes],
        [
          " of a policy that makes its schedule anew each time",
          () => AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
        ]
      ] as const
    ) {
      it.effect(`declares a wait queue${what} again that is gone`, () =>
        onMemory(Effect.gen(function*() {
          const channel = yield* AmqpChannel.AmqpChannel
          const attempts: Array<number> = []
          const consumer = yield* AmqpConsumer.make(
            work,
            (delivery) => {
              attempts.push(delivery.attempts)
              return attempts.length < 13 ? Effect.fail("no") : Effect.void
            },
            { concurrency: 3, onFailure }
          )
          yield* send("a", "b", "c")
          yield* channel.deleteQueue("work.retry.2000")
          yield* pass(1000)
          assert.deepInclude(yield* consumer.counts, { retried: 3, requeued: 0 })
          yield* pass(1000)
          assert.deepInclude(yield* consumer.counts, { retried: 6, requeued: 3 })
          yield* pass(10_000)
          assert.deepStrictEqual(attempts, [1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4])
          assert.strictEqual(yield* unacked, 0)
        })))
    }

    for (
      const [what, foreign] of [
        ["has no room for more headers", { headers: { big: "x".repeat(65_500) } }],
        ["has a time in its headers that no Date can hold", { headers: { at: new Date(Number.NaN) } }],
        ["has a number in its headers that is none", { headers: { ratio: Number.NaN } }]
      ] as const
    ) {
      it.effect(`dead-letters a message that ${what}, because its copy could never be published`, () => {
        const lines: Parameters<typeof logging>[0] = []
        return onMemory(Effect.gen(function*() {
          const consumer = yield* AmqpConsumer.make(work, () => Effect.fail("no"), { onFailure: fiveTimes })
          yield* sendForeign(foreign)
          yield* pass(5000)
          assert.strictEqual(yield* ready("dead"), 1)
          assert.deepInclude(yield* consumer.counts, { delivered: 1, deadLettered: 1, requeued: 0, retried: 0 })
          assert.isTrue(lines.some(({ message }) => message.startsWith("AMQP message cannot be published again")))
        })).pipe(Effect.provide(logging(lines)))
      })
    }

    it.effect("leaves out a timestamp that no Date can hold", () =>
      onMemory(Effect.gen(function*() {
        const timestamps: Array<number | undefined> = []
        yield* AmqpConsumer.make(
          work,
          (delivery) => {
            timestamps.push(delivery.properties.timestamp)
            return delivery.attempts === 1 ? Effect.fail("no") : Effect.void
          },
          { onFailure: fiveTimes }
        )
        yield* sendForeign({ timestamp: 1e15 })
        yield* pass(2000)
        assert.deepStrictEqual(timestamps, [1e15, undefined])
      })))

    it.effect("puts a copy only where it waits, whatever the original's CC header says", () =>
      onMemory(Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        yield* channel.declareQueue({ name: "audit" })
        const consumer = yield* AmqpConsumer.make(
          work,
          (delivery) => delivery.redelivered ? Effect.void : Effect.fail("no"),
          { onFailure: fiveTimes }
        )
        yield* sendWith({ headers: { CC: ["audit"] } }, "a")
        assert.deepStrictEqual([yield* ready("audit"), yield* ready("work.retry.1000")], [1, 1])
        yield* channel.deleteQueue("work.retry.1000")
        yield* sendWith({ headers: { CC: ["audit"] } }, "b")
        yield* pass(1000)
        assert.deepStrictEqual([yield* ready("audit"), (yield* consumer.counts).requeued], [2, 1])
      })))

    it.effect("starts anew in a queue that a message was dead-lettered to", () =>
      onMemory(Effect.gen(function*() {
        yield* AmqpConsumer.make(work, () => Effect.fail("no"), {
          onFailure: (_, delivery) => delivery.attempts === 1 ? fiveTimes : "deadLetter"
        })
        const attempts: Array<number> = []
        yield* AmqpConsumer.make(dead, (delivery) => {
          attempts.push(delivery.attempts)
          return Effect.fail("no")
        }, { onFailure: AmqpConsumer.retry(Schedule.spaced("10 seconds").pipe(Schedule.upTo({ times: 1 }))) })
        yield* send("a")
        yield* pass(30_000)
        assert.deepStrictEqual(attempts, [1, 2])
        assert.strictEqual(yield* ready("dead.parked"), 1)
      })))

    it.effect("copies no message that its handler has settled, or that the broker has put back", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpConsumer.make(
          work,
          Effect.fnUntraced(function*(delivery) {
            const text = yield* delivery.text
            if (text === "settled") yield* delivery.ack()
            else if (delivery.redelivered) return
            yield* Effect.sleep("5 seconds")
            return yield* Effect.fail("no")
          }),
          { concurrency: 2, onFailure: fiveTimes }
        )
        yield* send("settled")
        yield* pass(5000)
        yield* send("put back")
        yield* broker.cutConnections
        yield* pass(5000)
        assert.strictEqual(yield* ready("work.retry.1000"), 0)
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
        assert.strictEqual((yield* broker.published).length, 2)
      })))

    it.effect("copies no message that the broker puts back while the queues of its schedule are declared", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpConsumer.make(
          work,
          (delivery) =>
            delivery.redelivered ? Effect.void : Effect.andThen(Effect.sleep("1 second"), Effect.fail("no")),
          { concurrency: 2, onFailure: () => fiveTimes }
        )
        yield* send("a", "b")
        yield* broker.setLatency("500 millis")
        yield* pass(2000)
        yield* broker.setLatency(0)
        yield* broker.cutConnections
        yield* pass(10_000)
        assert.deepStrictEqual([yield* ready("work.retry.1000"), yield* ready("work"), yield* unacked], [0, 0, 0])
        assert.strictEqual((yield* broker.published).length, 2)
      })))

    it.effect("declares its queues once, also if a policy makes its schedule anew for each failure", () => {
      const frames: Array<string> = []
      return onMemory(
        Effect.gen(function*() {
          const broker = yield* AmqpMemory.AmqpMemory
          const declares = () => frames.filter((frame) => frame.includes("→ queue.declare") && frame.includes("work."))
          yield* AmqpConsumer.make(work, () => Effect.fail("no"), {
            onFailure: () => AmqpConsumer.retry(Schedule.spaced("1 hour").pipe(Schedule.upTo({ times: 3 })))
          })
          yield* send("a", "b", "c")
          assert.strictEqual(yield* ready("work.retry.3600000"), 3)
          assert.strictEqual(declares().length, 4)
          frames.length = 0
          yield* broker.cutConnections
          yield* pass(5000)
          assert.strictEqual(declares().length, 4)
        }),
        AmqpMemory.layerLogged
      ).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => frames.push(String(message)))])))
    })

    it.effect("works while handlers finish at the end of the scope", () =>
      onMemory(Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* AmqpConsumer.make(work, () => Effect.andThen(Effect.sleep("1 second"), Effect.fail("no")), {
          onFailure: fiveTimes
        }).pipe(Scope.provide(scope))
        yield* send("a")
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* pass(1000)
        yield* Fiber.join(closing)
        assert.deepStrictEqual([yield* ready("work.retry.1000"), yield* ready("work")], [1, 0])
      })))

    for (
      const [what, schedule] of [
        ["a schedule that does not end", Schedule.spaced("1 second")],
        ["a delay that RabbitMQ cannot have", Schedule.spaced("50 days").pipe(Schedule.upTo({ times: 1 }))]
      ] as const
    ) {
      it.effect(`refuses ${what} before anything is declared`, () =>
        onMemory(Effect.gen(function*() {
          const error = yield* Effect.flip(
            AmqpConsumer.make(work, () => Effect.void, { onFailure: AmqpConsumer.retry(schedule) })
          )
          assert.strictEqual(error.reason._tag, "InvalidConfiguration")
        })))
    }

    it.effect("has the same queues for a schedule with jitter each time", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpConsumer.make(work, () => Effect.void, {
          onFailure: AmqpConsumer.retry(
            Schedule.spaced("10 seconds").pipe(Schedule.jittered, Schedule.upTo({ times: 3 }))
          )
        })
        assert.isDefined(yield* broker.queue("work.retry.10000"))
      })))
  })

  describe("delivery.attempts", () => {
    it.effect("counts by x-retry-attempt, else by rejections of this queue in x-death, and adds x-delivery-count", () =>
      onMemory(Effect.gen(function*() {
        const seen: Array<number> = []
        yield* AmqpConsumer.make(work, (delivery) => Effect.sync(() => seen.push(delivery.attempts)))
        const deaths = [
          { queue: "work", reason: "rejected", count: 2 },
          { queue: "work", reason: "expired", count: 9 },
          { queue: "other", reason: "rejected", count: 9 }
        ]
        yield* sendWith({ headers: {} }, "a")
        yield* sendWith({ headers: { "x-death": deaths } }, "a")
        const fifth = { "x-retry-attempt": 5, "x-retry-queue": "work" }
        yield* sendWith({ headers: { ...fifth, "x-death": deaths } }, "a")
        yield* sendWith({ headers: { ...fifth, "x-delivery-count": 2 } }, "a")
        yield* sendWith({ headers: { ...fifth, "x-retry-attempt": "many", "x-delivery-count": -1 } }, "a")
        assert.deepStrictEqual(seen, [1, 3, 5, 7, 1])
      })))

    it.effect("does not count what x-retry-attempt says of another queue", () =>
      onMemory(Effect.gen(function*() {
        const seen: Array<number> = []
        yield* AmqpConsumer.make(work, (delivery) => Effect.sync(() => seen.push(delivery.attempts)))
        yield* sendWith({ headers: { "x-retry-attempt": 5, "x-retry-queue": "other" } }, "a")
        yield* sendWith({ headers: { "x-retry-attempt": 5 } }, "a")
        assert.deepStrictEqual(seen, [1, 1])
      })))
  })

  describe("stream", () => {
    it.effect("emits deliveries that its reader acknowledges, as many at once as the prefetch", () =>
      onMemory(Effect.gen(function*() {
        yield* send("a", "b", "c")
        const texts = yield* AmqpConsumer.stream(work, { prefetch: 2 }).pipe(
          Stream.mapEffect((delivery) => Effect.tap(delivery.text, delivery.ack())),
          Stream.take(3),
          Stream.runCollect
        )
        assert.deepStrictEqual(texts, ["a", "b", "c"])
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
      })))

    it.effect("goes on for as long as messages come, one at a time too", () =>
      onMemory(Effect.gen(function*() {
        const seen: Array<string> = []
        yield* AmqpConsumer.stream(work).pipe(
          Stream.runForEach((delivery) =>
            Effect.gen(function*() {
              seen.push(yield* delivery.text)
              yield* delivery.ack()
            })
          ),
          Effect.forkScoped({ startImmediately: true })
        )
        yield* settled
        for (const text of ["a", "b", "c", "d"]) {
          yield* send(text)
          yield* settled
        }
        assert.deepStrictEqual(seen, ["a", "b", "c", "d"])
      })))

    it.effect("goes on after a lost connection, without what was lost with it", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const seen: Array<string> = []
        yield* AmqpConsumer.stream(work).pipe(
          Stream.mapEffect((delivery) =>
            Effect.gen(function*() {
              yield* Effect.sleep("1 second")
              seen.push(`${yield* delivery.text} ${delivery.isStale} ${yield* delivery.ack()}`)
            })
          ),
          Stream.runDrain,
          Effect.forkScoped({ startImmediately: true })
        )
        yield* settled
        yield* send("a")
        yield* broker.cutConnections
        yield* pass(5000)
        assert.deepStrictEqual(seen, ["a true false", "a false true"])
      })))

    it.effect("returns what was not acknowledged when it ends", () =>
      onMemory(Effect.gen(function*() {
        yield* send("a", "b")
        yield* AmqpConsumer.stream(work).pipe(Stream.take(1), Stream.runDrain)
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [2, 0])
      })))

    it.effect("fails when the consumer cannot come back", () =>
      onMemory(Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const reading = yield* Effect.forkChild(Effect.flip(Stream.runDrain(AmqpConsumer.stream(work))), {
          startImmediately: true
        })
        yield* settled
        yield* channel.deleteQueue(work)
        yield* pass(60_000)
        assert.strictEqual((yield* Fiber.join(reading)).reason._tag, "NotFound")
      })))
  })

  describe("runBatch", () => {
    const texts = (batch: ReadonlyArray<AmqpDelivery.Delivery>) =>
      batch.map((delivery) => new TextDecoder().decode(delivery.body)).join("")

    it.effect("hands over full batches at once and others when their window is over, one by one", () =>
      onMemory(Effect.gen(function*() {
        const batches: Array<string> = []
        yield* AmqpConsumer.runBatch(
          work,
          (batch) => Effect.andThen(Effect.sync(() => batches.push(texts(batch))), Effect.sleep("10 millis")),
          { size: 3, within: "1 second" }
        ).pipe(Effect.forkScoped({ startImmediately: true }))
        yield* settled
        yield* send("a", "b", "c", "d")
        yield* pass(999)
        assert.deepStrictEqual(batches, ["abc"])
        yield* pass(1000)
        assert.deepStrictEqual(batches, ["abc", "d"])
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
      })))

    it.effect("acknowledges a batch in one frame", () => {
      const frames: Array<string> = []
      return onMemory(
        Effect.gen(function*() {
          yield* AmqpConsumer.runBatch(work, () => Effect.void, { size: 4 }).pipe(
            Effect.forkScoped({ startImmediately: true })
          )
          yield* settled
          yield* send("a", "b", "c", "d")
          assert.strictEqual(frames.filter((frame) => frame.includes("→ basic.ack")).length, 1)
          assert.strictEqual(yield* unacked, 0)
        }),
        AmqpMemory.layerLogged
      ).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => frames.push(String(message)))])))
    })

    it.effect("applies the policy to every message of a batch that failed", () =>
      onMemory(Effect.gen(function*() {
        yield* AmqpConsumer.runBatch(work, (batch) => texts(batch) === "ab" ? Effect.fail("no") : Effect.void, {
          size: 2,
          onFailure: (_, batch) => batch.length === 2 ? "deadLetter" : "requeue"
        }).pipe(Effect.forkScoped({ startImmediately: true }))
        yield* settled
        yield* send("a", "b", "c", "d")
        assert.deepStrictEqual([yield* ready("dead"), yield* ready("work"), yield* unacked], [2, 0, 0])
      })))

    it.effect("retries each message of a batch", () =>
      onMemory(Effect.gen(function*() {
        let runs = 0
        yield* AmqpConsumer.runBatch(work, () => Effect.suspend(() => ++runs === 1 ? Effect.fail("no") : Effect.void), {
          size: 2,
          onFailure: AmqpConsumer.retry(Schedule.recurs(1).pipe(Schedule.addDelay(() => Effect.succeed("1 second"))))
        }).pipe(Effect.forkScoped({ startImmediately: true }))
        yield* settled
        yield* send("a", "b")
        assert.strictEqual(yield* ready("work.retry.1000"), 2)
        yield* pass(2000)
        assert.deepStrictEqual([runs, yield* unacked, yield* ready("work")], [2, 0, 0])
      })))

    it.effect("of a batch that failed, requeues only the message whose copy could not be published", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const batches: Array<string> = []
        yield* AmqpConsumer.runBatch(
          work,
          Effect.fnUntraced(function*(batch) {
            yield* Effect.sleep("100 millis")
            if (batches.push(texts(batch)) === 1) yield* Effect.fail("no")
          }),
          {
            size: 4,
            onFailure: AmqpConsumer.retry(Schedule.spaced("10 seconds").pipe(Schedule.upTo({ times: 3 })))
          }
        ).pipe(Effect.forkScoped({ startImmediately: true }))
        yield* settled
        yield* send("a", "b", "c", "d")
        yield* broker.returnPublishes(1)
        yield* pass(100, 100)
        assert.deepStrictEqual([yield* ready("work.retry.10000"), yield* unacked], [3, 1])
        yield* pass(30_000)
        assert.deepStrictEqual(batches, ["abcd", "a", "bcd"])
        assert.deepStrictEqual([yield* ready("work"), yield* unacked], [0, 0])
        assert.strictEqual(yield* metric("amqp_consumer_failed", "retry"), 3)
        assert.strictEqual(yield* metric("amqp_consumer_failed", "requeue"), 1)
        assert.strictEqual(yield* metric("amqp_consumer_acked"), 4)
      })).pipe(withOwnMetrics))

    it.effect("counts as acknowledged what the handler has not settled by itself", () =>
      onMemory(Effect.gen(function*() {
        yield* AmqpConsumer.runBatch(work, (batch) => batch[0].reject(), { size: 3 }).pipe(
          Effect.forkScoped({ startImmediately: true })
        )
        yield* settled
        yield* send("a", "b", "c")
        assert.deepStrictEqual([yield* ready("dead"), yield* unacked], [1, 0])
        assert.strictEqual(yield* metric("amqp_consumer_acked"), 2)
      })).pipe(withOwnMetrics))

    it.effect("never mixes messages of two channels in a batch", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const batches: Array<string> = []
        yield* AmqpConsumer.runBatch(work, (batch) => Effect.sync(() => batches.push(texts(batch))), {
          size: 3,
          within: "10 seconds"
        }).pipe(Effect.forkScoped({ startImmediately: true }))
        yield* settled
        yield* send("a", "b")
        yield* broker.cutConnections
        yield* pass(2000)
        yield* send("c")
        assert.deepStrictEqual(batches, ["abc"])
        assert.strictEqual(yield* unacked, 0)
      })))
  })

  describe("server-named queues", () => {
    const events = AmqpTopology.exchange("events", { type: "fanout" })
    const news = AmqpTopology.serverNamedQueue("news")
    const newsTopology = AmqpTopology.make(events, news, AmqpTopology.bind(news, events))

    it.effect("bindings and consumers follow the new name that each session brings", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpTopology.declare(newsTopology)
        const seen: Array<string> = []
        yield* AmqpConsumer.make(
          news,
          (delivery) => Effect.map(delivery.text, (text) => seen.push(`${delivery.queue} ${text}`))
        )
        const before = yield* AmqpTopology.currentName(news)
        yield* sendWith({ exchange: events, routingKey: "" }, "one")
        yield* broker.cutConnections
        yield* pass(2000)
        const after = yield* AmqpTopology.currentName(news)
        yield* sendWith({ exchange: events, routingKey: "" }, "two")
        assert.deepStrictEqual(seen, ["news one", "news two"])
        assert.notStrictEqual(after, before)
      })))

    it.effect("an attempt is counted by the name that the broker has chosen", () =>
      onMemory(Effect.gen(function*() {
        yield* AmqpTopology.declare(newsTopology)
        const seen: Array<number> = []
        yield* AmqpConsumer.make(news, (delivery) => Effect.sync(() => seen.push(delivery.attempts)))
        const queue = yield* AmqpTopology.currentName(news)
        const headers = { "x-death": [{ queue, reason: "rejected", count: 2 }] }
        yield* sendWith({ exchange: events, routingKey: "", headers }, "one")
        assert.deepStrictEqual(seen, [3])
      })))

    it.effect("a consumer of one that no topology declares fails with NotFound", () =>
      onMemory(Effect.gen(function*() {
        const error = yield* Effect.flip(AmqpConsumer.make(news, () => Effect.void))
        assert.strictEqual(error.reason._tag, "NotFound")
      })))

    it.effect("cannot be retried with a delay", () =>
      onMemory(Effect.gen(function*() {
        yield* AmqpTopology.declare(newsTopology)
        const error = yield* Effect.flip(
          AmqpConsumer.make(news, () => Effect.void, { onFailure: AmqpConsumer.retry(Schedule.recurs(1)) })
        )
        assert.strictEqual(error.reason._tag, "InvalidConfiguration")
      })))
  })

  describe("observability", () => {
    it.effect("a handler logs with the queue, the delivery tag and the message id", () => {
      const lines: Parameters<typeof logging>[0] = []
      return onMemory(Effect.gen(function*() {
        yield* AmqpConsumer.make(work, () => Effect.log("hello")).pipe(Effect.annotateLogs({ service: "invoices" }))
        yield* sendWith({ messageId: "m-1" }, "a")
        const hello = lines.find(({ message }) => message === "hello")
        assert.deepInclude(hello?.annotations, { service: "invoices", queue: "work", deliveryTag: 1, messageId: "m-1" })
      })).pipe(Effect.provide(logging(lines)))
    })

    const spansOf = (options: AmqpConsumer.Options<never>, headers: AmqpMessage.Headers) => {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span(options) {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      return onMemory(Effect.gen(function*() {
        yield* AmqpConsumer.make(work, () => Effect.void, options).pipe(Effect.withTracer(tracer))
        yield* sendWith({ messageId: "m-1", headers }, "a")
        return spans
      }))
    }
    const traceId = "0af7651916cd43dd8448eb211c80319c"
    const traceparent = `00-${traceId}-b7ad6b7169203331-01`

    it.effect("with tracing, a handler has a consumer span that is linked to the publisher's", () =>
      Effect.gen(function*() {
        const spans = yield* spansOf({ tracing: true }, { traceparent })
        assert.strictEqual(spans.length, 1)
        const span = spans[0]!
        assert.deepInclude(span, { name: "process work", kind: "consumer" })
        assert.notStrictEqual(span.traceId, traceId)
        assert.deepInclude(span.links[0]?.span, { traceId, spanId: "b7ad6b7169203331", sampled: true })
        assert.deepInclude(Object.fromEntries(span.attributes), {
          "messaging.system": "rabbitmq",
          "messaging.operation.type": "process",
          "messaging.message.id": "m-1",
          "messaging.rabbitmq.destination.routing_key": "work",
          "messaging.rabbitmq.message.delivery_tag": 1
        })
      }))

    it.effect("a message that was published with tracing leads from its consumer's span to its publisher's", () => {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span(options) {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      return onMemory(
        Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.make({ tracing: true })
          yield* AmqpConsumer.make(work, () => Effect.void, { tracing: true })
          yield* publisher.publish({ routingKey: "work", body: "a" })
          yield* settled
          const [published, processed] = spans
          assert.deepStrictEqual([published?.kind, processed?.kind], ["producer", "consumer"])
          assert.deepInclude(processed?.links[0]?.span, { traceId: published?.traceId, spanId: published?.spanId })
        }).pipe(Effect.withTracer(tracer))
      )
    })

    it.effect("a trace context that is malformed or empty is no link", () =>
      Effect.gen(function*() {
        for (const bad of ["", "00-abc-def-01", `00-${"0".repeat(32)}-b7ad6b7169203331-01`, 7]) {
          const [span] = yield* spansOf({ tracing: true }, { traceparent: bad })
          assert.deepStrictEqual(span?.links, [])
        }
      }))

    it.effect("without tracing there is no span", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* spansOf({}, { traceparent }), [])
      }))

    it.effect("metrics count what was delivered, acknowledged, failed by policy and dropped as stale", () =>
      onMemory(Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpConsumer.make(
          work,
          (delivery) =>
            Effect.flatMap(
              delivery.text,
              (text) => text === "bad" ? Effect.fail("no") : text === "slow" ? Effect.sleep("3 seconds") : Effect.void
            ),
          { concurrency: 2 }
        )
        yield* send("good", "bad", "good", "slow")
        assert.strictEqual(yield* metric("amqp_consumer_in_progress"), 1)
        yield* broker.cutConnections
        yield* pass(10_000)
        assert.strictEqual(yield* metric("amqp_consumer_delivered"), 5)
        assert.strictEqual(yield* metric("amqp_consumer_acked"), 3)
        assert.strictEqual(yield* metric("amqp_consumer_failed", "deadLetter"), 1)
        assert.strictEqual(yield* metric("amqp_consumer_stale"), 1)
        assert.strictEqual(yield* metric("amqp_consumer_in_progress"), 0)
      })).pipe(withOwnMetrics))
  })

  describe("options", () => {
    const refused: ReadonlyArray<readonly [string, AmqpConsumer.Options<never>]> = [
      ["a prefetch of 0, which is no limit", { prefetch: 0 }],
      ["a prefetch above 65535", { prefetch: 65_536 }],
      ["a prefetch below the concurrency, which could never be reached", { prefetch: 5, concurrency: 10 }],
      ["a concurrency of 1.5", { concurrency: 1.5 }],
      ["a handler timeout without an end", { handlerTimeout: "Infinity" }],
      ["a drain without an end", { drainTimeout: "Infinity" }]
    ]
    for (const [what, options] of refused) {
      it.effect(`refuses ${what}`, () =>
        onMemory(Effect.gen(function*() {
          const error = yield* Effect.flip(AmqpConsumer.make(work, () => Effect.void, options))
          assert.strictEqual(error.reason._tag, "InvalidConfiguration")
        })))
    }
  })

  it.effect("a layer consumes with the services of its handler until it is released", () => {
    const Invoices = Context.Service<{ readonly create: (text: string) => Effect.Effect<void> }>("Invoices")
    const created: Array<string> = []
    const InvoiceWorker = AmqpConsumer.layer(
      work,
      Effect.fnUntraced(function*(delivery) {
        const invoices = yield* Invoices
        yield* invoices.create(yield* delivery.text)
      }),
      {
        prefetch: 100,
        concurrency: 10,
        onFailure: AmqpConsumer.retry(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 5 })))
      }
    ).pipe(Layer.provide(Layer.succeed(Invoices, { create: (text) => Effect.sync(() => void created.push(text)) })))
    return onMemory(Effect.gen(function*() {
      const launched = yield* Effect.forkChild(Layer.launch(InvoiceWorker), { startImmediately: true })
      yield* settled
      yield* send("a", "b")
      assert.deepStrictEqual(created, ["a", "b"])
      yield* Fiber.interrupt(launched)
      assert.deepStrictEqual(yield* consumers, [])
    }))
  })
})
