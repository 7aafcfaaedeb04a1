import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { AmqpConnection, AmqpConsumer, AmqpPartitions, AmqpPublisher, AmqpStream, AmqpTopology } from "effect-amqp"
import { AmqpRpc } from "effect-amqp-rpc"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMqCluster from "effect-amqp-test-rig/RabbitMqCluster"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"

const work = AmqpTopology.queue("work", { type: "quorum" })
const log = AmqpTopology.queue("log", { type: "stream" })
const events = AmqpPartitions.make("events", { count: 6 })

class Calc extends RpcGroup.make(
  Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number })
) {}

// A classic queue is away with its node.
const calc = AmqpRpc.service("calc", {
  whenNoServer: "wait",
  queue: AmqpTopology.queue("calc", { type: "quorum", deliveryLimit: 1000 })
})

const connection = (endpoints: ReadonlyArray<string>) =>
  AmqpConnection.layer({
    endpoints,
    retry: { interval: "200 millis", max: 10_000 },
    startup: { interval: "200 millis", max: 10_000 },
    operationTimeout: "20 seconds"
  })

/** What goes through one component: the numbers that it has done, and when it did the last one. */
class Flow {
  readonly name: string
  readonly done: Array<number> = []
  #last = performance.now()
  #silence = 0

  constructor(name: string) {
    this.name = name
  }

  has(number: number): void {
    this.done.push(number)
    const now = performance.now()
    this.#silence = Math.max(this.#silence, now - this.#last)
    this.#last = now
  }

  /** Gives the longest time without anything since the last look, in seconds. */
  look(): string {
    const silence = Math.max(this.#silence, performance.now() - this.#last)
    this.#silence = 0
    return `${this.name} ${(silence / 1000).toFixed(1)} s`
  }
}

const numberOf = (body: Uint8Array): number => Number(Buffer.from(body).toString())

const missing = (count: number, done: ReadonlyArray<number>): ReadonlyArray<number> => {
  const seen = new Set(done)
  return Array.from({ length: count }, (_, i) => i).filter((number) => !seen.has(number))
}

/** The first sightings of the numbers that are `rest` modulo `keys`, which is what one key has. */
const sightings = (done: ReadonlyArray<number>, keys: number, rest: number): ReadonlyArray<number> =>
  Array.from(new Set(done.filter((number) => number % keys === rest)))

const keys = 12

describeWithOwnNode("a cluster of three nodes", () => {
  it.live(
    "whose leaders move, that loses a node and is restarted node by node, loses nothing of anybody",
    () =>
      Effect.gen(function*() {
        const cluster = yield* RabbitMqCluster.make()
        const { version } = cluster.nodes[0]!
        const keepsStreams = !version.startsWith("3.")
        if (!keepsStreams) {
          process.stderr.write(
            `SKIPPED the stream in the faults of a cluster on RabbitMQ ${version}: it loses confirmed messages of a stream ` +
              "whose writer died\n"
          )
        }
        const published = new Flow("publisher")
        const consumed = new Flow("consumer")
        const read = new Flow("stream")
        const shared = new Flow("partitions")
        const called = new Flow("rpc")
        const receivers = keepsStreams ? [consumed, read, shared] : [consumed, shared]
        const flows = [published, ...receivers, called]
        const offsets: Array<number> = []

        const Reader = AmqpStream.layer(log, (delivery) =>
          Effect.sync(() => {
            offsets.push(AmqpStream.offsetOf(delivery)!)
            read.has(numberOf(delivery.body))
          }), { group: "group", saveInterval: "500 millis" }).pipe(Layer.provide(AmqpStream.storeInQueue))
        const Workers = Layer.mergeAll(
          AmqpConsumer.layer(work, ({ body }) => Effect.sync(() => consumed.has(numberOf(body))), { concurrency: 10 }),
          keepsStreams ? Reader : Layer.empty,
          AmqpPartitions.layer(events, ({ body }) => Effect.sync(() => shared.has(numberOf(body)))),
          RpcServer.layer(Calc).pipe(
            Layer.provide(Calc.toLayer({ Double: ({ n }) => Effect.succeed(2 * n) })),
            Layer.provide(AmqpRpc.layerServer(calc, { concurrency: 8 })),
            Layer.provide(RpcSerialization.layerJson)
          )
        )
        // A cluster that has just formed may still choose the leaders of what is declared.
        const App = Workers.pipe(
          Layer.provideMerge(AmqpPublisher.layer({ confirmTimeout: "5 seconds" })),
          Layer.provideMerge(AmqpTopology.layer(keepsStreams ? AmqpTopology.make(work, log) : AmqpTopology.make(work))),
          Layer.provideMerge(connection(cluster.urls))
        )

        yield* Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.AmqpPublisher
          const stop = { isOver: false }
          let count = 0
          /** Publishes until the broker has the message: a queue without a leader may be none for a moment. */
          const surely = <E>(publish: Effect.Effect<void, E, AmqpPublisher.AmqpPublisher>) =>
            Effect.retry(publish, { schedule: Schedule.spaced("100 millis"), times: 1000 })
          const publishing = yield* Effect.forkChild(
            Effect.gen(function*() {
              while (!stop.isOver) {
                const body = String(count)
                yield* Effect.all([
                  surely(publisher.publish({ routingKey: "work", body })),
                  keepsStreams ? surely(publisher.publish({ routingKey: "log", body })) : Effect.void,
                  surely(AmqpPartitions.publish(events, `key-${count % keys}`, { body }))
                ], { concurrency: 3, discard: true })
                published.has(count++)
                yield* Effect.sleep("5 millis")
              }
            }),
            { startImmediately: true }
          )
          let calls = 0
          const calling = yield* Effect.forkChild(
            Effect.gen(function*() {
              const client = yield* RpcClient.make(Calc)
              while (!stop.isOver) {
                const n = calls
                const answer = yield* Effect.eventually(client.Double({ n }))
                assert.strictEqual(answer, 2 * n)
                called.has(calls++)
                yield* Effect.sleep("20 millis")
              }
            }).pipe(
              Effect.scoped,
              Effect.provide(AmqpRpc.layerClient(calc, { deadline: "10 seconds" })),
              Effect.provide(RpcSerialization.layerJson)
            ),
            { startImmediately: true }
          )

          /** Waits until everybody has had some of what is published from now on. */
          const goesOn = (after: string) =>
            Effect.gen(function*() {
              const from = count + 50
              const call = calls + 20
              yield* Patience.until(
                `everybody goes on after ${after}`,
                Effect.sync(() =>
                  flows.every((flow) => flow.done.some((number) => number >= (flow === called ? call : from)))
                )
              )
              process.stdout.write(
                `cluster of RabbitMQ ${version}, ${after}: longest silence of ` +
                  `${flows.map((flow) => flow.look()).join(", ")}\n`
              )
            })

          yield* goesOn("the start")
          const leader = yield* cluster.leaderOf("work")
          // Whoever leads: its process ends, and another member takes over.
          yield* leader.evalErlang(
            `[exit(whereis(Name), kill) || Name <- registered(), lists:prefix("%2F_", atom_to_list(Name))]`
          )
          yield* goesOn("the leaders of quorum queues died")
          if (keepsStreams) {
            yield* leader.evalErlang(
              `[exit(amqqueue:get_pid(Queue), kill) || Queue <- rabbit_amqqueue:list(),
                amqqueue:get_type(Queue) =:= rabbit_stream_queue]`
            )
            yield* goesOn("the writers of streams died")
          }

          const victim = yield* cluster.leaderOf("work").pipe(Effect.eventually)
          yield* victim.kill
          yield* goesOn("a node was killed")
          yield* victim.start
          yield* goesOn("it came back")

          for (const [i, node] of cluster.nodes.entries()) {
            yield* node.stop
            yield* goesOn(`node ${i + 1} of the rolling restart stopped`)
            yield* node.start
            yield* goesOn(`node ${i + 1} started`)
          }

          stop.isOver = true
          yield* Fiber.join(publishing)
          yield* Fiber.join(calling)
          const lost = () => receivers.map(({ done, name }) => `${name}: ${missing(count, done).join(", ")}`)
          yield* Patience.until(
            "everybody has everything",
            Effect.sync(() => lost().every((line) => line.endsWith(": ")))
          ).pipe(Effect.onError(() => Effect.sync(() => process.stdout.write(`missing at ${lost().join("; ")}\n`))))
          process.stdout.write(
            `cluster of RabbitMQ ${version}: published ${count} to each of ${receivers.length} receivers, lost 0; ` +
              `handled again: ${receivers.map(({ done, name }) => `${name} ${done.length - count}`).join(", ")}; ` +
              `${calls} calls\n`
          )
          assert.deepStrictEqual(Array.from(new Set(offsets)), offsets, "the reader handled an offset twice")
          assert.deepStrictEqual(offsets, offsets.toSorted((a, b) => a - b), "the reader left the order of its stream")
          for (let key = 0; key < keys; key++) {
            const seen = sightings(shared.done, keys, key)
            assert.deepStrictEqual(seen, seen.toSorted((a, b) => a - b), `key ${key} is out of order`)
          }
        }).pipe(Effect.scoped, Effect.provide(App))
      }),
    600_000
  )
})
