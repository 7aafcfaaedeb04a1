import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Result, Scope, Stream } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import type { PublishError } from "effect-amqp"
import * as FaultProxy from "effect-amqp-test-rig/FaultProxy"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode, describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"

const numbers = AmqpTopology.queue("numbers")
const quorum = AmqpTopology.queue("quorum", { type: "quorum" })

const application = (url: string, publisher: AmqpPublisher.Options = {}, connection: AmqpConnection.Options = {}) =>
  Layer.mergeAll(AmqpPublisher.layer({ confirmTimeout: Patience.limit, ...publisher }), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(numbers, quorum))),
    Layer.provideMerge(AmqpConnection.layer({
      endpoints: url,
      retry: { interval: "200 millis", max: 10_000 },
      operationTimeout: Patience.limit,
      ...connection
    }))
  )

/** Every number that the queue holds, each once. */
const drained = Effect.fnUntraced(function*(queue: string) {
  const channel = yield* AmqpChannel.AmqpChannel
  const found = new Set<number>()
  for (;;) {
    const delivery = yield* channel.get(queue, { noAck: true })
    if (Option.isNone(delivery)) return found
    found.add(Number(yield* delivery.value.text))
  }
})

const publishAll = (queue: string, count: number, pace: number) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    const fibers: Array<Fiber.Fiber<Result.Result<void, PublishError.PublishError>>> = []
    for (let i = 0; i < count; i++) {
      fibers.push(
        yield* Effect.forkChild(Effect.result(publisher.publish({ routingKey: queue, body: i })), {
          startImmediately: true
        })
      )
      if (i % pace === 0) yield* Effect.sleep(10)
    }
    return yield* Effect.forEach(fibers, Fiber.join)
  })

const confirmed = (results: ReadonlyArray<Result.Result<void, unknown>>): ReadonlyArray<number> =>
  results.flatMap((result, i) => Result.isSuccess(result) ? [i] : [])

describeWithSharedBroker("publishing to RabbitMQ", () => {
  it.live("a mandatory message to nowhere is Unroutable, among neighbours that are confirmed", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const results = yield* Effect.forEach(
          Array.from({ length: 1000 }, (_, i) => i),
          (i) => Effect.result(publisher.publish({ routingKey: i % 7 === 0 ? "nobody" : "numbers", body: i })),
          { concurrency: "unbounded" }
        )
        for (const [i, result] of results.entries()) {
          assert.strictEqual(Result.isSuccess(result), i % 7 !== 0, `message ${i}`)
          if (Result.isFailure(result)) {
            assert.deepInclude(result.failure.reason, { _tag: "Unroutable", published: "no", replyText: "NO_ROUTE" })
          }
        }
      }).pipe(Effect.provide(application(url)))
    }))

  it.live("a missing exchange fails the message that named it, and the other 199 are confirmed", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const results = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, i) => i),
          (i) =>
            Effect.result(publisher.publish({ exchange: i === 77 ? "missing" : "", routingKey: "numbers", body: i })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(confirmed(results).length, 199)
        const guilty = results[77]!
        assert.isTrue(Result.isFailure(guilty))
        if (Result.isFailure(guilty)) {
          assert.deepInclude(guilty.failure.reason, { _tag: "ExchangeNotFound", exchange: "missing", published: "no" })
        }
        assert.strictEqual((yield* drained("numbers")).size, 199)
      }).pipe(Effect.provide(application(url)))
    }))

  it.live("a message that closes the connection, as some names do since 4.0, fails, and the other 199 are confirmed", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const exchange = `${"\u00e9".repeat(100)}${"x".repeat(50)}`
        const results = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, i) => i),
          (i) =>
            Effect.result(publisher.publish({ exchange: i === 77 ? exchange : "", routingKey: "numbers", body: i })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(confirmed(results).length, 199)
        const guilty = results[77]!
        assert.isTrue(Result.isFailure(guilty))
        if (Result.isFailure(guilty)) {
          assert.include(["ExchangeNotFound", "ConnectionLost"], guilty.failure.reason._tag)
          assert.isFalse(guilty.failure.isRetryable)
        }
        assert.strictEqual((yield* drained("numbers")).size, 199)
      }).pipe(Effect.provide(application(url)))
    }))

  it.live("messages that go on naming a missing exchange fail, each not published, and all others are confirmed", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const every = (millis: number, count: number, exchange: string) =>
          Effect.forEach(Array.from({ length: count }), (_, i) =>
            Effect.andThen(
              Effect.sleep(i * millis),
              Effect.result(publisher.publish({ exchange, routingKey: "numbers", body: i }))
            ), { concurrency: "unbounded" })
        // The first one alone: of two on their way together the channel may have been closed for either.
        const first = yield* every(0, 1, "missing")
        const [later, right] = yield* Effect.all([
          every(25, 80, "missing"),
          every(4, 500, "")
        ], { concurrency: "unbounded" })
        for (const result of [...first, ...later]) {
          assert.isTrue(Result.isFailure(result))
          if (Result.isFailure(result)) {
            assert.deepInclude(result.failure.reason, { _tag: "ExchangeNotFound", published: "no" })
          }
        }
        assert.strictEqual(confirmed(right).length, 500)
        assert.strictEqual((yield* drained("numbers")).size, 500)
      }).pipe(Effect.provide(application(url)))
    }))

  it.live("a full queue that rejects is Nacked, after publishing again", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* channel.declareQueue(AmqpTopology.queue("tiny", { maxLength: 1, overflow: "reject-publish" }))
        yield* publisher.publish({ routingKey: "tiny", body: 1 })
        const error = yield* Effect.flip(publisher.publish({ routingKey: "tiny", body: 2 }))
        assert.deepInclude(error.reason, { _tag: "Nacked", times: 4 })
      }).pipe(Effect.provide(application(url)))
    }))

  it.live("all properties and header types arrive as they were sent", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const at = new Date("2026-01-02T03:04:05Z")
        const headers = {
          text: "ä",
          whole: 7,
          large: 2 ** 40,
          negative: -5,
          broken: 1.5,
          yes: true,
          nothing: null,
          at,
          bytes: new Uint8Array([1, 2]),
          list: [1, "two", [at]],
          table: { deep: { at } }
        }
        yield* publisher.publish({
          routingKey: "numbers",
          body: new Uint8Array(0),
          headers,
          priority: 3,
          correlationId: "c",
          replyTo: "r",
          expiration: "1 minute",
          messageId: "m",
          timestamp: at,
          type: "t",
          userId: "guest",
          appId: "a",
          contentEncoding: "identity"
        })
        const delivery = yield* Effect.fromOption(yield* channel.get("numbers", { noAck: true }))
        assert.strictEqual(delivery.body.byteLength, 0)
        assert.deepInclude(delivery.properties, {
          priority: 3,
          correlationId: "c",
          replyTo: "r",
          expiration: "60000",
          messageId: "m",
          timestamp: at.getTime() / 1000,
          type: "t",
          userId: "guest",
          appId: "a",
          contentEncoding: "identity",
          deliveryMode: 2
        })
        const plain = JSON.parse(
          JSON.stringify(delivery.headers, (_, value) => value?.type === "Buffer" ? value.data : value)
        )
        assert.deepStrictEqual(plain, JSON.parse(JSON.stringify({ ...headers, bytes: [1, 2] })))
      }).pipe(Effect.provide(application(url)))
    }))

  it.live("bodies from 0 bytes to 5 MiB arrive whole", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const publisher = yield* AmqpPublisher.AmqpPublisher
        for (const size of [0, 1, 2047, 131_064, 131_072, 131_080, 5 * 1024 * 1024]) {
          const body = new Uint8Array(size).map((_, i) => i % 251)
          yield* publisher.publish({ routingKey: "numbers", body })
          const delivery = yield* Effect.fromOption(yield* channel.get("numbers", { noAck: true }))
          assert.strictEqual(Buffer.compare(delivery.body, body), 0, `${size} bytes`)
        }
      }).pipe(Effect.provide(application(url)))
    }))

  it.live("large bodies of several publishers on one connection do not mix", () =>
    Effect.gen(function*() {
      const { url } = yield* SharedRabbitMq.make
      yield* Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const publishers = yield* Effect.forEach([1, 2, 3], () => AmqpPublisher.make())
        const sizes = [2000, 3000, 131_063, 131_064, 131_065, 300_000]
        yield* Effect.forEach(
          Array.from({ length: 300 }, (_, i) => i),
          (i) =>
            publishers[i % 3]!.publish({
              routingKey: "numbers",
              body: new Uint8Array(sizes[i % sizes.length]!).fill(i % 251),
              headers: { i }
            }),
          { concurrency: "unbounded", discard: true }
        )
        for (let n = 0; n < 300; n++) {
          const delivery = yield* Effect.fromOption(yield* channel.get("numbers", { noAck: true }))
          const i = Number(delivery.headers["i"])
          assert.strictEqual(delivery.body.byteLength, sizes[i % sizes.length], `message ${i}`)
          assert.isTrue(delivery.body.every((byte) => byte === i % 251), `message ${i} has bytes of another`)
        }
      }).pipe(Effect.provide(application(url)))
    }))

  it.live(
    "the end of the scope waits for 5000 messages in flight, and all of them are there",
    () =>
      Effect.gen(function*() {
        const { url } = yield* SharedRabbitMq.make
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(application(url), scope)
        const publishing = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 5000 }, (_, i) => i),
            (i) =>
              Effect.flatMap(
                AmqpPublisher.AmqpPublisher,
                (publisher) => Effect.result(publisher.publish({ routingKey: "numbers", body: i }))
              ),
            { concurrency: "unbounded" }
          ).pipe(Effect.provide(context)),
          { startImmediately: true }
        )
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(confirmed(yield* Fiber.join(publishing)).length, 5000)
        const found = yield* Effect.provide(drained("numbers"), application(url))
        assert.strictEqual(found.size, 5000)
      })
  )

  it.live("connections reset under load lose nothing that was confirmed", () =>
    Effect.gen(function*() {
      const { host, port, url } = yield* SharedRabbitMq.make
      const proxy = yield* FaultProxy.make({ host, port })
      const resetting = yield* Effect.forkChild(Effect.forever(Effect.andThen(Effect.sleep("150 millis"), proxy.reset)))
      const results = yield* publishAll("numbers", 4000, 20).pipe(
        Effect.ensuring(Fiber.interrupt(resetting)),
        Effect.provide(application(proxy.through(url), {}, {
          retry: { interval: "50 millis", max: 10_000 }
        }))
      )
      assert.strictEqual(confirmed(results).length, 4000)
      const found = yield* Effect.provide(drained("numbers"), application(url))
      for (const i of confirmed(results)) assert.isTrue(found.has(i), `${i} was confirmed, and is lost`)
    }))
})

describeWithOwnNode("publishing across a crash of the broker", () => {
  for (const queue of ["numbers", "quorum"]) {
    it.live(
      `kill -9 and a restart lose no confirmed message of a durable ${
        queue === "numbers" ? "classic" : "quorum"
      } queue`,
      () =>
        Effect.gen(function*() {
          const broker = yield* RabbitMq.make()
          const results = yield* Effect.gen(function*() {
            // RabbitMQ 3.10 may lose a quorum queue that was declared less than a second before the kill.
            yield* Effect.sleep("1500 millis")
            const publishing = yield* Effect.forkChild(publishAll(queue, 6000, 40))
            yield* Effect.sleep("500 millis")
            yield* broker.kill
            yield* Effect.sleep("300 millis")
            yield* broker.start
            return yield* Fiber.join(publishing)
          }).pipe(Effect.provide(application(broker.url)))
          assert.strictEqual(confirmed(results).length, 6000)
          const found = yield* Effect.provide(drained(queue), application(broker.url))
          assert.strictEqual(found.size, 6000)
        })
    )
  }

  it.live(
    "the negative control: messages that are not persistent are lost, and the check sees it",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        yield* Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.AmqpPublisher
          for (let i = 0; i < 100; i++) yield* publisher.publish({ routingKey: "numbers", body: i, persistent: false })
        }).pipe(Effect.provide(application(broker.url)))
        yield* broker.kill
        yield* broker.start
        assert.strictEqual((yield* Effect.provide(drained("numbers"), application(broker.url))).size, 0)
      })
  )

  it.live(
    "a memory alarm makes publishes wait, tells so, and lets them go when it is over",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        yield* Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.AmqpPublisher
          const connection = yield* AmqpConnection.AmqpConnection
          yield* publisher.publish({ routingKey: "numbers", body: 0 })
          yield* broker.setMemoryAlarm
          const publishing = yield* Effect.forkChild(publishAll("numbers", 2000, 100))
          yield* Patience.until(
            "the health says that RabbitMQ is low on memory",
            Effect.map(
              connection.health,
              ({ sessions }) => sessions.some((state) => state._tag === "Blocked" && state.reason.includes("memory"))
            )
          )
          assert.isAtMost((yield* publisher.counts).inFlight, 1000)
          yield* broker.clearMemoryAlarm
          assert.strictEqual(confirmed(yield* Fiber.join(publishing)).length, 2000)
        }).pipe(Effect.provide(application(broker.url)))
      })
  )

  it.live(
    "a stream offered to a blocked broker takes no more memory than the window, and is confirmed when it is over",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        const window = 8 * 1024 * 1024
        const count = 100_000
        yield* Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.AmqpPublisher
          const connection = yield* AmqpConnection.AmqpConnection
          const channel = yield* AmqpChannel.AmqpChannel
          yield* broker.setMemoryAlarm
          const before = process.memoryUsage().rss
          const streaming = yield* Stream.range(1, count).pipe(
            Stream.map(() => ({ routingKey: "numbers", body: new Uint8Array(1024) })),
            Stream.run(publisher.sink({ inFlight: count })),
            Effect.forkChild
          )
          yield* Patience.until(
            "the health says that RabbitMQ blocks",
            Effect.map(connection.health, ({ sessions }) => sessions.some((state) => state._tag === "Blocked"))
          )
          yield* Effect.sleep("5 seconds")
          const grown = process.memoryUsage().rss - before
          assert.isBelow(grown, window + 40 * 1024 * 1024, `the memory grew by ${Math.round(grown / 1024 / 1024)} MiB`)
          yield* broker.clearMemoryAlarm
          assert.strictEqual(yield* Fiber.join(streaming), count)
          assert.strictEqual((yield* channel.checkQueue("numbers")).messageCount, count, "none twice, none lost")
        }).pipe(Effect.provide(application(broker.url, {
          maxInFlight: count,
          maxInFlightBytes: window
        })))
      })
  )

  it.live(
    "a message over the broker's limit is TooLarge, and its neighbours are confirmed",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make({ limits: { maxMessageSize: 10_000 } })
        yield* Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.AmqpPublisher
          const results = yield* Effect.forEach(
            Array.from({ length: 50 }, (_, i) => i),
            (i) =>
              Effect.result(publisher.publish({ routingKey: "numbers", body: "x".repeat(i === 20 ? 20_000 : 10) })),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(confirmed(results).length, 49)
          const guilty = results[20]!
          if (Result.isFailure(guilty)) {
            assert.deepInclude(guilty.failure.reason, {
              _tag: "TooLarge",
              bytes: 20_000,
              limit: 10_000,
              published: "no"
            })
          }
        }).pipe(Effect.provide(application(broker.url)))
      })
  )
})
