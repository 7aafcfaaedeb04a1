import { assert, it } from "@effect/vitest"
import { Effect, Latch, Layer, Scope } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPartitions, AmqpPublisher } from "effect-amqp"
import * as FaultProxy from "effect-amqp-test-rig/FaultProxy"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Handled } from "../support/Sharing.ts"
import { join as joinGroup, numberOf, outOfOrder, send } from "../support/Sharing.ts"

const events = AmqpPartitions.make("events", { count: 12 })

const onShared = <A, E, R>(test: (url: string) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(SharedRabbitMq.make, ({ url }) =>
    test(url).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(AmqpPublisher.layer({ confirmTimeout: Patience.limit }), AmqpChannel.layer()).pipe(
          Layer.provideMerge(AmqpConnection.layer({ endpoints: url, operationTimeout: Patience.limit }))
        )
      )
    ))

const left = Effect.fnUntraced(function*(partitions: AmqpPartitions.Partitions) {
  const channel = yield* AmqpChannel.AmqpChannel
  const depths = yield* Effect.forEach(
    [...partitions.queues, partitions.parked],
    (queue) => channel.checkQueue(queue),
    { concurrency: 8 }
  )
  return depths.reduce((sum, { messageCount }) => sum + messageCount, 0)
})

/** RabbitMQ hands over to whoever comes since 4.0. */
const isBalanced = Effect.map(
  Effect.flatMap(AmqpConnection.AmqpConnection, ({ state }) => state),
  (state) => state._tag === "Connected" && !String(state.serverProperties["version"]).startsWith("3.")
)

/** Starts an instance as a process of its own; what it handled comes in the order of the machine's clock. */
const startProcess = Effect.fnUntraced(function*(
  url: string,
  name: string,
  handled: Array<Handled & { readonly at: bigint }>
) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(
        process.execPath,
        [join(import.meta.dirname, "../support/partitionsWorker.ts"), url, "events", "12", name],
        {
          stdio: ["ignore", "pipe", "inherit"]
        }
      )
    ),
    (child) => Effect.sync(() => void child.kill("SIGKILL"))
  )
  let isReady = false
  let isOver = false
  const lines = createInterface({ input: child.stdout })
  lines.on("line", (line) => {
    if (line === "ready") isReady = true
    const [what, at, partition, key = "", number] = line.split(" ")
    // Killed while it wrote, its last line may end anywhere.
    if (what !== "handled" || at === undefined || number === undefined) return
    handled.push({ at: BigInt(at), instance: name, partition: Number(partition), key, number: Number(number) })
  })
  lines.on("close", () => {
    isOver = true
  })
  yield* Patience.until("the process is ready", Effect.sync(() => isReady))
  return {
    kill: Effect.andThen(
      Effect.sync(() => void child.kill("SIGKILL")),
      Patience.until("all that the process wrote is read", Effect.sync(() => isOver))
    )
  }
})

describeWithSharedBroker("partitions on RabbitMQ", () => {
  it.live("keep every key in order while instances join and leave and one is killed by kill -9, and lose nothing", () =>
    onShared((url) =>
      Effect.gen(function*() {
        const handled: Array<Handled & { readonly at: bigint }> = []
        const busy = new Map<number, string>()
        let overlaps = 0
        const connection: AmqpConnection.Options = { endpoints: url, operationTimeout: Patience.limit }
        const joinAs = (name: string) =>
          joinGroup(events, name, (delivery, partition) =>
            Effect.gen(function*() {
              if (busy.has(partition)) overlaps++
              busy.set(partition, name)
              yield* Effect.sleep(1)
              busy.delete(partition)
              handled.push({
                at: process.hrtime.bigint(),
                instance: name,
                partition,
                key: AmqpPartitions.keyOf(delivery),
                number: numberOf(delivery)
              })
            }), { connection })
        const keys = Array.from({ length: 60 }, (_, i) => `k${i}`)
        let published = 0
        const sendFor = (rounds: number) =>
          Effect.repeat(
            Effect.andThen(
              Effect.suspend(() => send(events, keys, published)),
              Effect.andThen(Effect.sync(() => published += keys.length), Effect.sleep(20))
            ),
            { times: rounds - 1 }
          )
        const shares = () => {
          const owner = new Map(handled.slice(-240).map(({ instance, partition }) => [partition, instance]))
          const counts: Record<string, number> = {}
          for (const name of owner.values()) counts[name] = (counts[name] ?? 0) + 1
          return counts
        }
        const scope = yield* Scope.make()
        yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
        const a = yield* joinAs("A")
        yield* sendFor(20)
        const b = yield* joinAs("B")
        yield* sendFor(20)
        yield* joinAs("C")
        yield* sendFor(60)
        const three = shares()
        if (yield* isBalanced) {
          assert.deepStrictEqual(three, { A: 4, B: 4, C: 4 })
        } else assert.deepStrictEqual(three, { A: 12 })
        yield* b.leave
        yield* sendFor(20)
        const killed = yield* startProcess(url, "E", handled)
        yield* sendFor(50)
        yield* killed.kill
        yield* sendFor(20)
        yield* joinAs("D")
        yield* sendFor(30)
        yield* a.leave
        yield* sendFor(20)
        yield* Patience.until(
          "every message is handled",
          Effect.sync(() => new Set(handled.map(({ number }) => number)).size === published)
        )
        const byTime = handled.toSorted((one, other) => one.at < other.at ? -1 : 1)
        if (yield* isBalanced) assert.isTrue(handled.some(({ instance }) => instance === "E"))
        // What was out at the one that was killed may come again: its prefetch, in each partition.
        assert.isAtMost(handled.length - published, 12 * 100)
        assert.strictEqual(overlaps, 0)
        assert.deepStrictEqual(outOfOrder(byTime), [])
        assert.strictEqual(yield* left(events), 0)
      })
    ))

  it.live("take over from an instance whose machine is cut off: its sockets stay open, and nothing goes through", () =>
    onShared((url) =>
      Effect.gen(function*() {
        const cutOff = AmqpPartitions.make("cut-off", { count: 6 })
        const { hostname, port } = new URL(url)
        const proxy = yield* FaultProxy.make({ host: hostname, port: Number(port) })
        const handled: Array<Handled> = []
        const joinAs = (name: string, endpoints: string) =>
          joinGroup(cutOff, name, (delivery, partition) =>
            Effect.andThen(
              Effect.sleep(5),
              Effect.sync(() =>
                void handled.push({
                  instance: name,
                  partition,
                  key: AmqpPartitions.keyOf(delivery),
                  number: numberOf(delivery)
                })
              )
            ), { connection: { endpoints, heartbeat: "2 seconds", operationTimeout: Patience.limit } })
        yield* joinAs("A", proxy.through(url))
        yield* joinAs("B", url)
        const keys = Array.from({ length: 60 }, (_, i) => `k${i}`)
        const seen = () => new Set(handled.map(({ number }) => number)).size
        yield* send(cutOff, keys)
        yield* Patience.until("what was sent first is handled", Effect.sync(() => seen() === 60))
        const before = new Set(
          handled.filter(({ instance }) => instance === "A").map(({ partition }) => partition)
        )
        assert.isAbove(before.size, 0)
        // The first of these are out at A when nothing goes through any more.
        yield* Effect.forEach(Array.from({ length: 10 }, (_, i) => i), (i) => send(cutOff, keys, 60 * (i + 1)))
        yield* proxy.setMode("blackhole")
        const at = handled.length
        yield* send(cutOff, keys, 660)
        yield* Patience.until("every message is handled", Effect.sync(() => seen() === 720))
        const after = handled.slice(at).filter(({ instance }) => instance === "B")
        assert.includeMembers(after.map(({ partition }) => partition), Array.from(before))
        assert.deepStrictEqual(outOfOrder(handled), [])
        yield* Patience.until("the queues are empty", Effect.map(left(cutOff), (count) => count === 0))
      })
    ))

  it.live("may have another count once the queues are empty, and not before", () =>
    onShared((url) =>
      Effect.gen(function*() {
        const few = AmqpPartitions.make("few", { count: 3 })
        const more = AmqpPartitions.make("few", { count: 5 })
        yield* AmqpPartitions.declare(few).pipe(Effect.scoped)
        yield* send(few, ["k1"])
        const error = yield* Effect.flip(Effect.scoped(AmqpPartitions.declare(more)))
        assert.include(error.message, "it is 5, and \"few\" has 3 partitions that are in use")
        const channel = yield* AmqpChannel.AmqpChannel
        yield* Effect.forEach(few.queues, (queue) => channel.purgeQueue(queue))
        yield* Effect.scoped(AmqpPartitions.declare(more))
        const handled: Array<string> = []
        yield* joinGroup(more, "A", (delivery) => Effect.sync(() => handled.push(delivery.messageId!)), {
          connection: { endpoints: url }
        })
        yield* send(more, ["k1", "k2", "k3"])
        yield* Patience.until("three messages are handled", Effect.sync(() => handled.length === 3))
      })
    ))

  it.live("keep the order when an instance leaves whose handlers do not end", () =>
    onShared((url) =>
      Effect.gen(function*() {
        const stuck = AmqpPartitions.make("stuck", { count: 3 })
        const handled: Array<Handled> = []
        let begun = 0
        const never = Latch.makeUnsafe(false)
        const first = yield* joinGroup(stuck, "A", () => {
          begun++
          return never.await
        }, { drainTimeout: "200 millis", connection: { endpoints: url } })
        yield* send(stuck, Array.from({ length: 90 }, (_, i) => `k${i % 30}`))
        yield* Patience.until("a handler runs in each partition", Effect.sync(() => begun === 3))
        yield* joinGroup(stuck, "B", (delivery, partition) =>
          Effect.sync(() =>
            void handled.push({
              instance: "B",
              partition,
              key: AmqpPartitions.keyOf(delivery),
              number: numberOf(delivery)
            })
          ), { connection: { endpoints: url } })
        yield* first.leave
        yield* Patience.until("every message is handled", Effect.sync(() => handled.length >= 90))
        assert.strictEqual(handled.length, 90)
        assert.deepStrictEqual(outOfOrder(handled), [])
      })
    ))

  it.live("park what is given up, and go on", () =>
    onShared((url) =>
      Effect.gen(function*() {
        const parking = AmqpPartitions.make("parking", { count: 2 })
        const handled: Array<number> = []
        yield* joinGroup(
          parking,
          "A",
          (delivery) =>
            numberOf(delivery) === 0 ? Effect.fail("no") : Effect.sync(() => void handled.push(numberOf(delivery))),
          { connection: { endpoints: url } }
        )
        yield* send(parking, ["k", "k", "k"])
        yield* Patience.until("two messages are handled", Effect.sync(() => handled.length === 2))
        const channel = yield* AmqpChannel.AmqpChannel
        const parked = yield* channel.get(parking.parked, { noAck: true })
        assert.deepStrictEqual(
          parked._tag === "Some"
            ? [parked.value.headers["x-parked-reason"], parked.value.headers["x-parked-attempts"]]
            : undefined,
          ["no", 6]
        )
        assert.strictEqual(yield* left(parking), 0)
      })
    ))
})
