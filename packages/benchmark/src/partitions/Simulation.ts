/**
 * Instances that share partitions, in virtual time on the memory broker: they join, leave, die and lose their connection
 * at random, while a publisher sends numbered messages of many keys. What every handler saw is checked as it happens.
 *
 * - Order: the messages of a key are first handled in the order of their publishes, and none is left out. What comes again
 *   is said to be redelivered, and goes on from there without a gap.
 * - Exclusiveness: no two instances that are connected handle messages of one partition at the same time.
 * - Balance: the largest share of the partitions is compared with the mean, in each round without a change in the end.
 */
import { AmqpMemory } from "effect-amqp-memory"
import { seeded } from "effect-amqp-memory/SeededRandom"
import { settled } from "effect-amqp-test-rig/VirtualTime"
import * as AmqpConnection from "effect-amqp/AmqpConnection"
import type { Delivery } from "effect-amqp/AmqpDelivery"
import type { AmqpError } from "effect-amqp/AmqpError"
import * as AmqpPartitions from "effect-amqp/AmqpPartitions"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import type { BatchError } from "effect-amqp/PublishError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

/** The size of a simulation. */
export interface Options {
  readonly seed: number
  readonly partitions: number
  readonly keys: number
  /** As many as there may be at once; it begins with all of them. */
  readonly instances: number
  readonly rounds: number
  /** The RabbitMQ that the broker behaves like. Defaults to 4.0. */
  readonly version?: AmqpMemory.BrokerVersion | undefined
  /** Breaks the order on purpose, to show that it would be seen. */
  readonly control?: boolean | undefined
  readonly onProgress?: ((what: string) => void) | undefined
}

/** What happened, and what was wrong with it. */
export interface Outcome {
  readonly published: number
  readonly handled: number
  /** Messages that were handled more than once. */
  readonly repeated: number
  /** Messages that no handler came to the end with. */
  readonly lost: number
  readonly outOfOrder: number
  readonly overlaps: number
  readonly joins: number
  readonly leaves: number
  readonly deaths: number
  readonly reconnects: number
  /** The largest share of a round, as a multiple of the mean, over all rounds. */
  readonly largestShare: number
  readonly mostInstances: number
  readonly seconds: number
}

interface Instance {
  readonly name: string
  readonly scope: Scope.Closeable
  isDead: boolean
}

const handlerMillis = 40
const latencyMillis = 3

/** Lets virtual time pass until nothing is under way. */
const pass = (millis: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust(50), settled), { times: Math.max(0, Math.ceil(millis / 50) - 1) })

const simulate = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<
  Outcome,
  AmqpError | BatchError,
  AmqpMemory.AmqpMemory | AmqpPublisher.AmqpPublisher | AmqpConnection.AmqpConnection | Scope.Scope
> {
  const { keys, onProgress = () => {}, rounds } = options
  const random = seeded(options.seed)
  const below = (n: number) => Math.floor(random() * n)
  const broker = yield* AmqpMemory.AmqpMemory
  const publisher = yield* AmqpPublisher.AmqpPublisher
  const events = AmqpPartitions.make("events", { count: options.partitions })
  yield* AmqpPartitions.declare(events)
  const start = performance.now()

  /** The last number that was sent, and that was handled, of each key. */
  const sent = new Uint32Array(keys)
  const seen = new Uint32Array(keys)
  const at = new Uint32Array(keys)
  const busy = new Map<number, Instance>()
  let owners = new Map<number, string>()
  let published = 0, handled = 0, repeated = 0, outOfOrder = 0, overlaps = 0
  let joins = 0, leaves = 0, deaths = 0, reconnects = 0
  let largestShare = 0, mostInstances = 0
  const instances: Array<Instance> = []
  const leaving: Array<Fiber.Fiber<void>> = []

  const note = (delivery: Delivery): void => {
    const [key, number] = delivery.messageId!.split(".").map(Number) as [number, number]
    handled++
    if (number <= seen[key]!) repeated++
    // Either the next one, or an earlier one that comes again.
    const isInOrder = number === at[key]! + 1 || (number <= at[key]! && delivery.redelivered)
    if (!isInOrder) outOfOrder++
    at[key] = number
    seen[key] = Math.max(seen[key]!, number)
  }

  const handlerOf = (self: Instance) => (delivery: Delivery, partition: number) =>
    Effect.suspend(() => {
      const other = busy.get(partition)
      if (other !== undefined && other !== self && !other.isDead) overlaps++
      busy.set(partition, self)
      owners.set(partition, self.name)
      return Effect.sleep(1 + below(handlerMillis)).pipe(
        Effect.andThen(Effect.sync(() => {
          if (!self.isDead) note(delivery)
        })),
        Effect.ensuring(Effect.sync(() => {
          if (busy.get(partition) === self) busy.delete(partition)
        }))
      )
    })

  const join = Effect.suspend(() => {
    const name = `instance-${joins++}-${below(1_000_000)}`
    const self: Instance = { name, scope: Scope.makeUnsafe(), isDead: false }
    instances.push(self)
    mostInstances = Math.max(mostInstances, instances.length)
    return Layer.buildWithScope(
      AmqpPartitions.layer(events, handlerOf(self), {
        instance: name,
        ackTimeout: "Infinity",
        prefetch: 10,
        ...(options.control === true ? { concurrency: 10, orderedBy: ({ messageId }: Delivery) => messageId! } : {})
      }).pipe(
        Layer.provide(Layer.fresh(AmqpConnection.layer({
          connectionName: name,
          sessions: "shared",
          heartbeat: "1 minute",
          retry: { interval: "200 millis", max: Number.POSITIVE_INFINITY }
        })))
      ),
      self.scope
    ).pipe(Effect.asVoid)
  })

  const take = (): Instance => instances.splice(below(instances.length), 1)[0]!

  const leave = Effect.suspend(() => {
    leaves++
    return Effect.forkChild(Scope.close(take().scope, Exit.void), { startImmediately: true }).pipe(
      Effect.map((fiber) => void leaving.push(fiber))
    )
  })

  /** What a process does that is killed: the broker sees the end of its connection, and nothing else comes of it. */
  const die = Effect.suspend(() => {
    deaths++
    const self = take()
    self.isDead = true
    return broker.cutConnection(self.name).pipe(
      Effect.andThen(Effect.forkChild(Scope.close(self.scope, Exit.void), { startImmediately: true })),
      Effect.map((fiber) => void leaving.push(fiber))
    )
  })

  const reconnect = Effect.suspend(() => {
    reconnects++
    const self = instances[below(instances.length)]!
    // What its handlers do from now on, until it has heard of it, is nothing that a connected instance does.
    for (const [partition, other] of busy) if (other === self) busy.delete(partition)
    return broker.cutConnection(self.name)
  })

  const firstOf = new Map<number, number>()
  for (let key = 0; key < keys; key++) {
    const partition = AmqpPartitions.partitionOf(events, String(key))
    if (!firstOf.has(partition)) firstOf.set(partition, key)
  }
  const perRound = Math.ceil(keys / rounds)

  let next = 0
  /** The next of all keys, and some that are used again and again. */
  const send = (count: number) => {
    const chosen: Array<number> = []
    for (let i = 0; i < count; i++) {
      chosen.push(next++ % keys)
      if (i % 2 === 0) chosen.push(below(Math.min(keys, 200)))
    }
    published += chosen.length
    return publisher.publishAll(chosen.map((key) => {
      sent[key]!++
      return AmqpPartitions.message(events, String(key), { body: "", messageId: `${key}.${sent[key]}` })
    }))
  }

  const missing = (): number => {
    let count = 0
    for (let key = 0; key < keys; key++) count += sent[key]! - seen[key]!
    return count
  }

  const joinSome = (count: number) =>
    Effect.gen(function*() {
      const joining = yield* Effect.forkChild(Effect.repeat(join, { times: count - 1 }))
      while (joining.pollUnsafe() === undefined) yield* pass(50)
      yield* Fiber.join(joining)
    })

  // On the way, acknowledgements can be lost.
  yield* broker.setLatency(latencyMillis)
  yield* joinSome(options.instances)
  for (let round = 0; round < rounds; round++) {
    const changes = 1 + below(Math.max(2, Math.ceil(options.instances / 10)))
    for (let change = 0; change < changes; change++) {
      const sending = yield* Effect.forkChild(send(Math.ceil(perRound / changes)), { startImmediately: true })
      yield* TestClock.adjust(1 + below(2 * handlerMillis))
      yield* settled
      const what = below(10)
      if (instances.length < 2 || (what < 5 && instances.length < options.instances)) yield* joinSome(1)
      else if (what < 7) yield* leave
      else if (what < 9) yield* die
      else yield* reconnect
      yield* pass(50)
      while (sending.pollUnsafe() === undefined) yield* pass(50)
      yield* Fiber.join(sending)
    }
    for (let waited = 0; missing() > 0 && waited < 1200; waited++) yield* pass(100)
    for (const fiber of leaving) while (fiber.pollUnsafe() === undefined) yield* pass(50)
    yield* Effect.forEach(leaving.splice(0), Fiber.join, { discard: true })
    // A message for every partition, now that nobody comes or goes: who gets it has the partition.
    owners = new Map()
    published += firstOf.size
    const asking = yield* Effect.forkChild(
      publisher.publishAll(Array.from(firstOf.values(), (key) => {
        sent[key]!++
        return AmqpPartitions.message(events, String(key), { body: "", messageId: `${key}.${sent[key]}` })
      })),
      { startImmediately: true }
    )
    for (let waited = 0; missing() > 0 && waited < 1200; waited++) yield* pass(100)
    while (asking.pollUnsafe() === undefined) yield* pass(50)
    yield* Fiber.join(asking)
    const shares = new Map<string, number>()
    for (const name of owners.values()) shares.set(name, (shares.get(name) ?? 0) + 1)
    const share = Math.max(...shares.values()) / (options.partitions / instances.length)
    largestShare = Math.max(largestShare, share)
    onProgress(
      `round ${round + 1} of ${rounds}: ${instances.length} instances, largest share ${
        share.toFixed(2)
      } of the mean, ` +
        `${published} published, ${missing()} to be handled`
    )
  }
  const outcome: Outcome = {
    published,
    handled,
    repeated,
    lost: missing(),
    outOfOrder,
    overlaps,
    joins,
    leaves,
    deaths,
    reconnects,
    largestShare,
    mostInstances,
    seconds: (performance.now() - start) / 1000
  }
  yield* broker.setLatency(0)
  yield* Effect.forEach(instances, ({ scope }) => Effect.forkChild(Scope.close(scope, Exit.void))).pipe(
    Effect.tap(() => pass(1000)),
    Effect.flatMap((closing) => Effect.forEach(closing, Fiber.join, { discard: true }))
  )
  return outcome
})

/** Runs a simulation; it takes the time that computing takes. */
export const run = (options: Options): Effect.Effect<Outcome, AmqpError | BatchError> =>
  simulate(options).pipe(
    Effect.scoped,
    Effect.provide(
      AmqpPublisher.layer({ confirmTimeout: "1 hour" }).pipe(
        Layer.provideMerge(AmqpConnection.layer({ connectionName: "publisher", heartbeat: "1 minute" })),
        Layer.provideMerge(AmqpMemory.layerWith({ version: options.version ?? "4.0", seed: options.seed })),
        Layer.provideMerge(Layer.succeed(References.MinimumLogLevel, "None"))
      )
    ),
    Effect.provide(TestClock.layer())
  )
