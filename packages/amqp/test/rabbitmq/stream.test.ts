import { assert, it } from "@effect/vitest"
import * as amqplib from "amqplib"
import { Effect, Fiber, Layer, Logger, Stream } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpStream, AmqpTopology, OffsetStore } from "effect-amqp"
import type { AmqpDelivery } from "effect-amqp"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode, describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

const log = AmqpTopology.queue("log", { type: "stream" })

const client = (url: string) =>
  Layer.mergeAll(AmqpPublisher.layer({ confirmTimeout: "20 seconds" }), AmqpStream.storeInQueue).pipe(
    Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(log))),
    Layer.provideMerge(AmqpConnection.layer({
      endpoints: url,
      retry: { interval: "200 millis", max: 10_000 },
      operationTimeout: Patience.limit
    }))
  )

const onShared = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SharedRabbitMq.make, ({ url }) => test.pipe(Effect.scoped, Effect.provide(client(url))))

const numbers = (count: number, first = 0): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => first + i)

const publish = (bodies: ReadonlyArray<number>, headers: Readonly<Record<string, string>> = {}) =>
  Effect.flatMap(
    AmqpPublisher.AmqpPublisher,
    (publisher) => publisher.publishAll(bodies.map((body) => ({ routingKey: "log", body: String(body), headers })))
  )

const numberOf = (delivery: AmqpDelivery.Delivery): number => Number(Buffer.from(delivery.body).toString())

/** Notes what it handles. */
const noting = (handled: Array<number>) => (delivery: AmqpDelivery.Delivery) =>
  Effect.sync(() => void handled.push(numberOf(delivery)))

const has = (handled: ReadonlyArray<number>, count: number) =>
  Patience.until(`${count} messages are handled`, Effect.sync(() => new Set(handled).size === count))

describeWithSharedBroker("reading a stream of RabbitMQ", () => {
  it.live("a group whose messages the stream has dropped is told so, and goes on at the first that is left", () =>
    Effect.suspend(() => {
      const warnings: Array<readonly [string, Readonly<Record<string, unknown>>]> = []
      const catching = Logger.layer([
        Logger.make(({ logLevel, message }) => {
          if (logLevel !== "Warn" || !Array.isArray(message)) return
          const [text, details] = message
          if (details?.group === "slow") warnings.push([text, details])
        })
      ])
      return onShared(Effect.gen(function*() {
        const short = AmqpTopology.queue("short", { type: "stream", maxLengthBytes: 200_000, maxSegmentBytes: 50_000 })
        yield* AmqpTopology.declare(AmqpTopology.make(short))
        const publisher = yield* AmqpPublisher.AmqpPublisher
        const append = (first: number) =>
          publisher.publishAll(
            numbers(300, first).map((body) => ({ routingKey: "short", body: String(body).padEnd(1000) }))
          )
        const firstOf = (group: string) =>
          Effect.scoped(Effect.gen(function*() {
            const offsets: Array<number> = []
            yield* AmqpStream.make(
              short,
              (delivery) => Effect.sync(() => offsets.push(AmqpStream.offsetOf(delivery)!)),
              {
                group
              }
            )
            yield* Patience.until("something is read", Effect.sync(() => offsets.length > 0))
            return offsets[0]!
          }))
        const store = yield* OffsetStore.OffsetStore
        yield* append(0)
        yield* store.save("slow", "short", 3)
        let round = 0
        yield* Patience.until(
          "the stream has dropped its first messages",
          Effect.gen(function*() {
            yield* append(300 * (round + 1))
            return (yield* firstOf(`probe-${round++}`)) > 100
          })
        )
        const begun = yield* AmqpStream.make(short, () => Effect.void, { group: "slow" })
        yield* Patience.until("the group is told", Effect.sync(() => warnings.length > 0))
        assert.isAbove((yield* begun.offset)!, 100)
        const [text, details] = warnings[0]!
        assert.include(text, "dropped messages before its group had read them")
        assert.deepInclude(details, { stream: "short", group: "slow", offset: 3 })
        assert.isAtLeast(details["missedAtMost"] as number, 98)
      })).pipe(Effect.provide(catching))
    }))

  it.live("each group goes on where it was, and one that begins at the end gets what comes then", () =>
    onShared(Effect.gen(function*() {
      const billing: Array<number> = []
      const audit: Array<number> = []
      const reading = (group: string, handled: Array<number>, until: number) =>
        Effect.scoped(Effect.gen(function*() {
          yield* AmqpStream.make(log, noting(handled), { group, from: group === "audit" ? "next" : "first" })
          if (handled.length === 0 && group === "audit") yield* publish(numbers(500, 3000))
          yield* has(handled, until)
        }))
      yield* publish(numbers(3000))
      yield* reading("billing", billing, 3000)
      yield* reading("audit", audit, 500)
      yield* publish(numbers(500, 3500))
      yield* reading("billing", billing, 4000)
      yield* reading("audit", audit, 1000)
      assert.deepStrictEqual(billing, numbers(4000))
      assert.deepStrictEqual(audit, numbers(1000, 3000))
    })))

  it.live("a queue of another type is named as such, and nothing is taken of it", () =>
    onShared(Effect.gen(function*() {
      for (const type of ["classic", "quorum"] as const) {
        yield* AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue(type, { type })))
        const error = yield* Effect.flip(AmqpStream.make(type, () => Effect.void, { group: "g" }))
        assert.include(error.message, `"${type}" is not a stream, whose messages have offsets`)
      }
    })))

  it.live("a filter leaves out what is not wanted, whatever comes along in its chunks", () =>
    onShared(Effect.gen(function*() {
      const handled: Array<number> = []
      for (const first of [0, 100, 200]) {
        yield* publish(numbers(50, first), { "x-stream-filter-value": "eu" })
        yield* publish(numbers(25, first + 50), { "x-stream-filter-value": "us" })
        yield* publish(numbers(25, first + 75))
      }
      const reader = yield* AmqpStream.make(log, noting(handled), {
        group: "eu",
        filter: ["eu"],
        matchUnfiltered: true
      })
      yield* has(handled, 225)
      assert.deepStrictEqual(handled, numbers(300).filter((n) => n % 100 < 50 || n % 100 >= 75))
      assert.strictEqual(yield* reader.offset, 300)
    })))
})

/** The message behind all others. */
const last = 3000

const ascending = (one: number, other: number): number => one - other

/** Ends a stream with the last message, and reads it from the first one, by amqplib alone. */
const contentOf = (url: string) =>
  Effect.promise(async () => {
    const connection = await amqplib.connect(url)
    const channel = await connection.createChannel()
    await channel.checkQueue("log")
    channel.sendToQueue("log", Buffer.from(String(last)))
    await channel.prefetch(1000)
    const content: Array<number> = []
    await new Promise<void>((resolve) =>
      void channel.consume("log", (message) => {
        content.push(Number(message!.content.toString()))
        channel.ack(message!)
        if (content.at(-1) === last) resolve()
      }, { arguments: { "x-stream-offset": "first" } })
    )
    await connection.close()
    return content
  }).pipe(Patience.within("amqplib reads the stream to its last message"))

describeWithOwnNode("reading a stream of RabbitMQ while things die", () => {
  it.live(
    "a broker that is killed three times costs no message, and no group handles one twice",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        yield* Effect.gen(function*() {
          const groups: ReadonlyArray<Array<number>> = [[], []]
          const readers = yield* Effect.forEach(groups, (handled, i) =>
            AmqpStream.make(
              log,
              (delivery) => Effect.andThen(Effect.sleep("2 millis"), noting(handled)(delivery)),
              { group: `group-${i}`, saveInterval: "200 millis", concurrency: 1 + i * 4 }
            ))
          const publishing = yield* Effect.forkChild(
            Stream.fromIterable(numbers(3000)).pipe(
              // RabbitMQ 3.10 routes to no stream that is not back yet, and forgets confirms of a writer that dies.
              Stream.mapEffect((n) => Effect.andThen(Effect.sleep("3 millis"), Effect.eventually(publish([n])))),
              Stream.runDrain
            ),
            { startImmediately: true }
          )
          for (let death = 1; death <= 3; death++) {
            // A node forgets its coordinator of streams if it is killed within a second of the first stream.
            yield* Effect.sleep("2 seconds")
            yield* broker.kill
            yield* broker.start
          }
          yield* Fiber.join(publishing)
          const inStream = yield* contentOf(broker.url)
          // RabbitMQ 3.10 confirms messages that it does not have, when they are published before a stream is back after a
          // crash; raw amqplib sees the same. What is in the stream is what there is to read.
          if (!broker.version.startsWith("3.10")) {
            assert.deepStrictEqual(Array.from(new Set(inStream)), [...numbers(3000), last])
          }
          for (const handled of groups) {
            yield* Patience.until(
              "a group has all that is in the stream",
              Effect.sync(() => handled.length >= inStream.length)
            )
          }
          for (const reader of readers) assert.strictEqual((yield* reader.health)._tag, "Attached")
          const [inOrder, atOnce] = groups
          assert.deepStrictEqual(inOrder, inStream)
          assert.deepStrictEqual(atOnce!.toSorted(ascending), inStream.toSorted(ascending))
          for (const reader of readers) {
            yield* Patience.until("a group is at the end", Effect.map(reader.offset, (at) => at === inStream.length))
          }
        }).pipe(Effect.scoped, Effect.provide(client(broker.url)))
      }),
    240_000
  )

  it.live(
    "a process that is killed again and again skips nothing, and another group does not notice",
    () =>
      Effect.gen(function*() {
        const broker = yield* RabbitMq.make()
        const lives: Array<Array<number>> = []
        const live = Effect.acquireRelease(
          Effect.sync(() => {
            const offsets: Array<number> = []
            lives.push(offsets)
            const child = spawn(
              process.execPath,
              ["--import", "tsx", fileURLToPath(new URL("../support/mortalReader.ts", import.meta.url))],
              { env: { ...process.env, AMQP_URL: broker.url }, stdio: ["ignore", "pipe", "inherit"] }
            )
            let rest = ""
            child.stdout.on("data", (chunk) => {
              const lines = (rest + String(chunk)).split("\n")
              rest = lines.pop()!
              offsets.push(...lines.map(Number))
            })
            return child
          }),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        yield* Effect.gen(function*() {
          const untouched: Array<number> = []
          yield* AmqpStream.make(log, noting(untouched), { group: "untouched" })
          let count = 0
          let isOver = false
          const publishing = yield* Effect.forkChild(
            Effect.suspend(() => publish(numbers(10, count))).pipe(
              Effect.tap(() => Effect.sync(() => void (count += 10))),
              Effect.delay("10 millis"),
              Effect.repeat({ until: () => isOver })
            ),
            { startImmediately: true }
          )
          for (let death = 0; death < 3; death++) {
            yield* Effect.scoped(Effect.gen(function*() {
              yield* live
              yield* Patience.until("the process reads", Effect.sync(() => lives.at(-1)!.length > 50))
            }))
          }
          yield* live
          yield* Patience.until("the last process reads", Effect.sync(() => lives.at(-1)!.length > 0))
          isOver = true
          yield* Fiber.join(publishing)
          yield* Patience.until("the last process is at the end", Effect.sync(() => lives.at(-1)!.at(-1) === count - 1))
          yield* has(untouched, count)
          assert.deepStrictEqual(untouched, numbers(count))
          for (const offsets of lives) assert.deepStrictEqual(offsets, offsets.toSorted((a, b) => a - b))
          const [[first] = []] = lives
          const seen = new Set(lives.flat())
          assert.deepStrictEqual(numbers(count - first!, first).filter((offset) => !seen.has(offset)), [])
          const repeats = lives.slice(1).map((offsets, i) => lives[i]!.at(-1)! + 1 - offsets[0]!)
          process.stdout.write(`stream: after kill -9, each process began ${repeats.join(", ")} messages back\n`)
        }).pipe(Effect.scoped, Effect.provide(client(broker.url)))
      }),
    240_000
  )
})
