import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Redacted, Result, Schedule, Scope, Stream } from "effect"
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpDriver,
  AmqpPublisher,
  AmqpTopology,
  CurrentDriver
} from "effect-amqp"
import type { AmqpMessage } from "effect-amqp"
import * as FaultProxy from "effect-amqp-test-rig/FaultProxy"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode, describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"

const dead = AmqpTopology.queue("dead")
const work = AmqpTopology.queue("work", { deadLetterExchange: "", deadLetterRoutingKey: "dead" })
const quorum = AmqpTopology.queue("quorum", { type: "quorum" })

const client = (url: string, connection: AmqpConnection.Options = {}) =>
  Layer.mergeAll(AmqpPublisher.layer({ confirmTimeout: Patience.limit }), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(work, dead, quorum))),
    Layer.provideMerge(AmqpConnection.layer({
      endpoints: url,
      retry: { interval: "200 millis", max: 10_000 },
      operationTimeout: Patience.limit,
      ...connection
    }))
  )

const onShared = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SharedRabbitMq.make, ({ url }) => test.pipe(Effect.scoped, Effect.provide(client(url))))

const send = (count: number, routingKey = "work") =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    return yield* Effect.forEach(
      Array.from({ length: count }, (_, i) => i),
      (i) =>
        Effect.map(Effect.result(publisher.publish({ routingKey, body: i, messageId: String(i) })), Result.isSuccess),
      { concurrency: "unbounded" }
    )
  })

const ready = (queue: string) =>
  Effect.gen(function*() {
    const channel = yield* AmqpChannel.AmqpChannel
    return (yield* channel.checkQueue(queue)).messageCount
  })

const attached = Effect.map(
  Effect.flatMap(AmqpConnection.AmqpConnection, (connection) => connection.health),
  ({ consumers }) => consumers.length > 0 && consumers.every(({ _tag }) => _tag === "Attached")
)

describeWithSharedBroker("consuming from RabbitMQ", () => {
  it.live(
    "a stream goes on for as long as messages come, however fast its reader is",
    () =>
      onShared(Effect.gen(function*() {
        yield* send(3000)
        const count = yield* AmqpConsumer.stream(work, { prefetch: 1000 }).pipe(
          Stream.mapEffect((delivery) => delivery.ack()),
          Stream.take(3000),
          Stream.runCount,
          Patience.within("the stream gives 3000 messages")
        )
        assert.strictEqual(count, 3000)
      }))
  )

  it.live("each message is handled once, with acknowledgements in any order, and a failed one is dead-lettered", () =>
    onShared(Effect.gen(function*() {
      const handled: Array<number> = []
      const consumer = yield* AmqpConsumer.make(work, (delivery) =>
        Effect.gen(function*() {
          const number = Number(yield* delivery.text)
          yield* Effect.sleep(number % 7)
          if (number % 10 === 0) return yield* Effect.fail("no")
          handled.push(number)
        }), { concurrency: 50, prefetch: 200 })
      yield* send(2000)
      yield* Patience.until(
        "the consumer has acknowledged or dead-lettered 2000 messages",
        Effect.map(consumer.counts, ({ acked, deadLettered }) => acked + deadLettered === 2000)
      )
      assert.deepStrictEqual(
        handled.sort((a, b) => a - b),
        Array.from({ length: 2000 }, (_, i) => i).filter((i) => i % 10 !== 0)
      )
      yield* Patience.until("200 messages are dead-lettered", Effect.map(ready("dead"), (count) => count === 200))
    })))

  it.live("a header table that looks like amqplib's way to write a decimal costs no consumer its channel", () =>
    Effect.flatMap(SharedRabbitMq.make, ({ host, password, port, url, username, vhost }) =>
      Effect.gen(function*() {
        const headers: Array<AmqpMessage.Headers> = []
        const consumer = yield* AmqpConsumer.make(work, (delivery) => Effect.sync(() => headers.push(delivery.headers)))
        const driver = yield* CurrentDriver.CurrentDriver
        const connection = yield* driver.connect({
          host,
          port,
          tls: undefined,
          vhost,
          username,
          password: Redacted.make(password),
          heartbeat: 0,
          connectionName: "foreign"
        }, { onBlocked() {}, onUnblocked() {}, onClose() {} })
        const channel = yield* connection.openChannel({ confirm: false }, AmqpDriver.noChannelEvents)
        const price = { "!": "decimal" }
        channel.publishUnsafe({
          exchange: "",
          routingKey: "work",
          mandatory: false,
          properties: { headers: { price } },
          body: new Uint8Array()
        })
        yield* channel.close
        yield* connection.close
        yield* Patience.until(
          "the consumer has acknowledged the message",
          Effect.map(consumer.counts, ({ acked }) => acked === 1)
        )
        assert.deepEqual({ ...headers[0] }, { price })
      }).pipe(Effect.scoped, Effect.provide(client(url)))))

  it.live("the end of the scope lets handlers finish, and what they did not begin is there once", () =>
    onShared(Effect.gen(function*() {
      let begun = 0
      const finished: Array<string> = []
      const gate = Latch.makeUnsafe(false)
      yield* send(100)
      const scope = yield* Scope.make()
      yield* AmqpConsumer.make(
        work,
        (delivery) => {
          begun++
          return Effect.andThen(gate.await, Effect.map(delivery.text, (text) => finished.push(text)))
        },
        { concurrency: 10 }
      ).pipe(Scope.provide(scope))
      yield* Patience.until("10 handlers have begun", Effect.sync(() => begun === 10))
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* gate.open
      yield* Fiber.join(closing)
      assert.strictEqual(finished.length, 10)
      assert.strictEqual(yield* ready("work"), 90)
    })))

  it.live("a queue of the topology that is deleted is declared again and consumed", () =>
    onShared(Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const handled: Array<string> = []
      yield* AmqpConsumer.make(work, (delivery) => Effect.map(delivery.text, (text) => handled.push(text)))
      yield* channel.deleteQueue(work)
      const hasConsumer = channel.checkQueue(work).pipe(
        Effect.map(({ consumerCount }) => consumerCount === 1),
        Effect.catch(() => Effect.succeed(false))
      )
      yield* Patience.until("the queue has its consumer again", hasConsumer)
      yield* send(3)
      yield* Patience.until("3 messages are handled", Effect.sync(() => handled.length === 3))
    })))

  it.live("an exclusive consumer is refused to another, which gets it when the first has gone", () =>
    onShared(Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* AmqpConsumer.make(work, () => Effect.void, { exclusive: true }).pipe(Scope.provide(scope))
      const second = yield* Effect.forkChild(AmqpConsumer.make(work, () => Effect.void, { exclusive: true }))
      yield* Effect.sleep("1500 millis")
      assert.isUndefined(second.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(second)
    })))

  for (const queue of [work, quorum]) {
    it.live(`a message of a ${queue.name} queue is retried after its delays, and parked then`, () =>
      onShared(Effect.gen(function*() {
        const attempts: Array<readonly [number, number, string]> = []
        yield* AmqpConsumer.make(
          queue,
          (delivery) =>
            Effect.suspend(() => {
              attempts.push([delivery.attempts, Date.now(), delivery.messageId!])
              return Effect.fail("no")
            }),
          { onFailure: AmqpConsumer.retry(Schedule.exponential("200 millis").pipe(Schedule.upTo({ times: 2 }))) }
        )
        yield* send(1, queue.name)
        yield* Patience.until(
          "the message is parked",
          Effect.map(ready(`${queue.name}.parked`), (count) => count === 1)
        )
        assert.deepStrictEqual(attempts.map(([attempt, , id]) => [attempt, id]), [[1, "0"], [2, "0"], [3, "0"]])
        const [first, second, third] = attempts.map(([, at]) => at)
        // RabbitMQ and this process read different clocks.
        assert.isAtLeast(second! - first!, 190)
        assert.isAtLeast(third! - second!, 390)
      })))
  }

  it.live("a server-named queue is consumed with its bindings", () =>
    onShared(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const events = AmqpTopology.exchange("events", { type: "fanout" })
      const news = AmqpTopology.serverNamedQueue("news")
      yield* AmqpTopology.declare(AmqpTopology.make(events, news, AmqpTopology.bind(news, events)))
      assert.match(yield* AmqpTopology.currentName(news), /^amq\.gen-/)
      const reading = yield* AmqpConsumer.stream(news).pipe(
        Stream.mapEffect((delivery) => Effect.tap(delivery.text, delivery.ack())),
        Stream.take(1),
        Stream.runCollect,
        Effect.forkChild
      )
      yield* publisher.publish({ exchange: events, routingKey: "", body: "hello" })
      assert.deepStrictEqual(yield* Fiber.join(reading), ["hello"])
    })))

  it.live("batches are acknowledged with what is in them, and nothing more", () =>
    onShared(Effect.gen(function*() {
      const sizes: Array<number> = []
      yield* AmqpConsumer.runBatch(work, (batch) => Effect.sync(() => sizes.push(batch.length)), {
        size: 100,
        within: "200 millis"
      }).pipe(Effect.forkScoped)
      yield* send(250)
      yield* Patience.until(
        "250 messages are handled in batches",
        Effect.sync(() => sizes.reduce((sum, size) => sum + size, 0) === 250)
      )
      yield* Patience.until("the queue is empty", Effect.map(ready("work"), (count) => count === 0))
      assert.isAtMost(Math.max(...sizes), 100)
    })))
})

describeWithOwnNode("consuming from a RabbitMQ that fails", () => {
  for (const queue of [work, quorum]) {
    it.live(
      `five times kill -9 with a slow handler: nothing confirmed to a ${queue.name} queue is lost`,
      () =>
        Effect.gen(function*() {
          const broker = yield* RabbitMq.make()
          yield* Effect.gen(function*() {
            const finished = new Map<string, number>()
            const consumer = yield* AmqpConsumer.make(
              queue,
              (delivery) =>
                Effect.andThen(
                  Effect.sleep("50 millis"),
                  Effect.sync(() => finished.set(delivery.messageId!, (finished.get(delivery.messageId!) ?? 0) + 1))
                ),
              { concurrency: 20, prefetch: 100 }
            )
            // A quorum queue that was declared a moment before a crash may be lost to RabbitMQ 3.10.
            yield* Effect.sleep("1 second")
            const publisher = yield* AmqpPublisher.AmqpPublisher
            const confirmed = new Set<string>()
            const publishing = yield* Effect.forEach(
              Array.from({ length: 4000 }, (_, i) => String(i)),
              (messageId) =>
                Effect.delay(
                  publisher.publish({ routingKey: queue.name, body: messageId, messageId }),
                  Number(messageId) * 4
                )
                  .pipe(Effect.match({ onSuccess: () => void confirmed.add(messageId), onFailure: () => {} })),
              { concurrency: "unbounded", discard: true }
            ).pipe(Effect.forkChild)
            for (let cycle = 0; cycle < 5; cycle++) {
              yield* Effect.sleep("1 second")
              yield* broker.kill
              yield* broker.start
              yield* Patience.until("the consumer is attached again", attached)
            }
            yield* Fiber.join(publishing)
            yield* Patience.until(
              "every confirmed message is handled",
              Effect.sync(() => [...confirmed].every((id) => finished.has(id)))
            )
            yield* Patience.until("the queue is empty", Effect.map(ready(queue.name), (count) => count === 0))
            assert.isAbove(confirmed.size, 3000)
            assert.isAbove((yield* consumer.counts).stale, 0)
          }).pipe(Effect.scoped, Effect.provide(client(broker.url)))
          const left = yield* broker.queueDepth(queue.name)
          assert.deepInclude(left, { unacked: 0, consumers: 0 })
        })
    )
  }

  it.live("with a memory alarm on, consumers go on acknowledging while publishes wait", () =>
    Effect.gen(function*() {
      const broker = yield* RabbitMq.make()
      yield* Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        assert.isTrue((yield* send(200)).every((isConfirmed) => isConfirmed))
        const gate = Latch.makeUnsafe(false)
        // By id: where a session was lost on a machine that is busy, a message may come twice.
        const handled = new Set<string | undefined>()
        yield* AmqpConsumer.make(
          work,
          (delivery) => Effect.andThen(gate.await, Effect.sync(() => handled.add(delivery.messageId))),
          { concurrency: 10, prefetch: 50 }
        )
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.setMemoryAlarm
        const blocked = yield* Effect.forkChild(
          publisher.publish({ routingKey: "work", body: "late", messageId: "late" })
        )
        yield* Patience.until(
          "the health says that RabbitMQ blocks",
          Effect.map(connection.health, ({ sessions }) => sessions.some((state) => state._tag === "Blocked"))
        )
        yield* gate.open
        yield* Patience.until("the consumer has handled 200 messages", Effect.sync(() => handled.size >= 200))
        yield* Patience.until(
          "the queue holds nothing",
          Effect.map(broker.queueDepth("work"), ({ ready, unacked }) => ready + unacked === 0)
        )
        assert.isUndefined(blocked.pollUnsafe())
        assert.isFalse(handled.has("late"))
        yield* broker.clearMemoryAlarm
        yield* Fiber.join(blocked)
        yield* Patience.until(
          "the consumer has handled the message that the alarm held back",
          Effect.sync(() => handled.has("late"))
        )
      }).pipe(Effect.scoped, Effect.provide(client(broker.url)))
    }))

  for (const queue of [work, quorum]) {
    it.live(
      `a handler that exceeds the delivery timeout of a ${queue.name} queue: the consumer comes back`,
      () =>
        Effect.gen(function*() {
          const broker = yield* RabbitMq.make({
            limits: { consumerTimeout: "2 seconds", channelTickInterval: "1 second" }
          })
          // Classic queues have no such timeout since 4.3.
          if (queue === work && !/^(3|4\.[0-2])\./.test(broker.version)) return
          yield* Effect.gen(function*() {
            const begun: Array<string> = []
            const gate = Latch.makeUnsafe(false)
            const consumer = yield* AmqpConsumer.make(
              queue,
              (delivery) => {
                begun.push(`${delivery.messageId} ${delivery.redelivered}`)
                return delivery.messageId === "0" && !delivery.redelivered ? gate.await : Effect.void
              },
              { concurrency: 2 }
            )
            yield* send(2, queue.name)
            yield* Patience.until("the message is delivered again", Effect.sync(() => begun.includes("0 true")))
            yield* gate.open
            yield* Patience.until(
              "the consumer has dropped one stale acknowledgement",
              Effect.map(consumer.counts, ({ stale }) => stale === 1)
            )
            yield* Patience.until("the consumer is attached again", attached)
            yield* Patience.until(
              "the queue holds nothing",
              Effect.map(broker.queueDepth(queue.name), ({ ready, unacked }) => ready + unacked === 0)
            )
            assert.deepStrictEqual(begun.filter((one) => one.startsWith("0")), ["0 false", "0 true"])
          }).pipe(Effect.scoped, Effect.provide(client(broker.url)))
        })
    )
  }

  it.live(
    "with interruption at 80 % of the delivery timeout, the channel is never taken away",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make({
          limits: { consumerTimeout: "2 seconds", channelTickInterval: "1 second" }
        })
        yield* Effect.gen(function*() {
          yield* send(1)
          const consumer = yield* AmqpConsumer.make(
            work,
            (delivery) => delivery.redelivered ? Effect.void : Effect.never,
            { ackTimeout: "2 seconds", whenAckTimeout: "interrupt" }
          )
          yield* Patience.until(
            "the consumer has acknowledged the message",
            Effect.map(consumer.counts, ({ acked }) => acked === 1)
          )
          const { since } = yield* consumer.health
          yield* Effect.sleep("3 seconds")
          assert.deepInclude(yield* consumer.health, { _tag: "Attached", since })
          assert.deepInclude(yield* consumer.counts, { givenBack: 1, requeued: 0, stale: 0 })
        }).pipe(Effect.scoped, Effect.provide(client(broker.url)))
      })
  )

  it.live(
    "an exclusive consumer comes back when the broker has noticed that its old half-open connection is dead",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        const proxy = yield* FaultProxy.make({ port: broker.port })
        yield* Effect.gen(function*() {
          const handled: Array<string> = []
          yield* AmqpConsumer.make(work, (delivery) => Effect.map(delivery.text, (text) => handled.push(text)), {
            exclusive: true
          })
          yield* proxy.resetClient
          yield* Patience.until("the consumer is detached", Effect.map(attached, (is) => !is))
          yield* Patience.until("the consumer is attached again", attached)
          yield* send(1)
          yield* Patience.until("the message is handled", Effect.sync(() => handled.length === 1))
        }).pipe(Effect.scoped, Effect.provide(client(proxy.through(broker.url), { heartbeat: "2 seconds" })))
      })
  )
})
