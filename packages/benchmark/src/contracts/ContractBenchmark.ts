/**
 * What a contract costs beside what it is made of: publishing by contract beside the schema's encoding and
 * `publisher.publish`, before the instant server; consuming by contract beside `delivery.json`, from the memory broker.
 * The ways take turns in one process, so that whatever else the machine does hits them alike.
 */
import { AmqpMemory } from "effect-amqp-memory"
import * as AmqpConnection from "effect-amqp/AmqpConnection"
import * as AmqpConsumer from "effect-amqp/AmqpConsumer"
import * as AmqpContract from "effect-amqp/AmqpContract"
import type { AmqpError } from "effect-amqp/AmqpError"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import * as AmqpTopology from "effect-amqp/AmqpTopology"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import type { Measured, Sample } from "../measure/Measured.ts"
import { measured, take } from "../measure/Measured.ts"
import * as Progress from "../measure/Progress.ts"
import { fiberWindow } from "../publishers/fiberWindow.ts"
import * as PublishBenchmark from "../publishers/PublishBenchmark.ts"

/** One way to do it, and how it went. */
export interface Result extends Measured {
  readonly name: string
}

/** The size of a run. */
export interface Options {
  readonly rounds: number
  readonly messages: number
}

const warmUps = 2
const inFlight = 100

const Order = Schema.Struct({
  id: Schema.Int,
  item: Schema.String,
  cents: Schema.Int,
  placedAt: Schema.Date,
  tags: Schema.Array(Schema.String)
})

const exchange = AmqpTopology.exchange("", { type: "direct" })
const payload = {
  id: 42,
  item: "a teapot of the better sort",
  cents: 1250,
  placedAt: new Date(0),
  tags: ["gift", "fragile"]
}

const contractOf = (key: string) => AmqpContract.make("order.placed", { payload: Order, exchange, key })

interface Way {
  readonly name: string
  readonly turn: (count: number) => Promise<void>
}

const takeTurns = Effect.fnUntraced(function*(
  what: string,
  ways: ReadonlyArray<Way>,
  { messages, rounds }: Options
): Effect.fn.Return<ReadonlyArray<Result>> {
  const progress = Progress.make(what, ways.length * (rounds + warmUps))
  const samples = ways.map((): Array<Sample> => [])
  for (let round = -warmUps; round < rounds; round++) {
    for (const offset of ways.keys()) {
      const index = (offset + round + warmUps) % ways.length
      const { name, turn } = ways[index]!
      const sample = yield* Effect.promise(() => take(messages, () => turn(messages)))
      if (round >= 0) samples[index]!.push(sample)
      progress.step(name)
    }
  }
  progress.done()
  return ways.map(({ name }, index) => ({ name, ...measured(samples[index]!, process.resourceUsage().maxRSS * 1024) }))
})

const quiet = Layer.succeed(References.MinimumLogLevel, "None")

/** Publishing: the schema's encoding with `publisher.publish`, and `AmqpContract.publish`. */
export const publishing = (options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const target = yield* PublishBenchmark.instant
    const contract = contractOf(target.queue)
    return yield* Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const run = Effect.runPromiseWith(yield* Effect.context<AmqpPublisher.AmqpPublisher>())
      const encode = Schema.encodeEffect(Schema.fromJsonString(Schema.toCodecJson(Order)))
      const byHand = Effect.flatMap(Effect.suspend(() => encode(payload)), (body) =>
        publisher.publish({
          exchange,
          routingKey: target.queue,
          type: "order.placed",
          contentType: "application/json",
          headers: { "x-schema-version": 1 },
          body
        }))
      const byContract = AmqpContract.publish(contract, payload)
      const turn = <E>(publish: Effect.Effect<void, E, AmqpPublisher.AmqpPublisher>) => (count: number) =>
        run(fiberWindow(count, inFlight, publish, undefined))
      return yield* takeTurns("publish by contract", [
        { name: "encode and publisher.publish", turn: turn(byHand) },
        { name: "AmqpContract.publish", turn: turn(byContract) }
      ], options)
    }).pipe(
      Effect.provide(
        AmqpPublisher.layer({ maxInFlight: inFlight }).pipe(
          Layer.provide(AmqpConnection.layer({ endpoints: target.url })),
          Layer.provideMerge(quiet)
        )
      )
    )
  }))

/** Consuming: a handler that reads `delivery.json`, and a handler of a contract. */
export const consuming = (options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const queue = AmqpTopology.queue("contracts")
    const contract = contractOf(queue.name)
    return yield* Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const run = Effect.runPromiseWith(
        yield* Effect.context<AmqpConnection.AmqpConnection | AmqpPublisher.AmqpPublisher>()
      )
      const message = yield* AmqpContract.message(contract, payload)
      const turn = (
        consumer: (
          handled: Effect.Effect<void>
        ) => Effect.Effect<never, AmqpError, AmqpConnection.AmqpConnection>
      ) =>
      (count: number) =>
        run(
          Effect.gen(function*() {
            const all = yield* Deferred.make<void>()
            let left = count
            const handled = Effect.sync(() => {
              if (--left === 0) Deferred.doneUnsafe(all, Effect.void)
            })
            yield* publisher.publishAll(Array.from({ length: count }, () => message))
            yield* Effect.raceFirst(Deferred.await(all), Effect.orDie(consumer(handled)))
          }).pipe(Effect.orDie)
        )
      const settings = { prefetch: 1000 }
      return yield* takeTurns("consume by contract", [
        {
          name: "delivery.json",
          turn: turn((handled) =>
            AmqpConsumer.run(queue, (delivery) => Effect.andThen(delivery.json(Order), handled), settings)
          )
        },
        {
          name: "AmqpContract.run",
          turn: turn((handled) => AmqpContract.run(queue, [contract], { "order.placed": () => handled }, settings))
        }
      ], options)
    }).pipe(
      Effect.provide(
        AmqpPublisher.layer().pipe(
          Layer.provide(AmqpTopology.layer(AmqpTopology.make(queue))),
          Layer.provideMerge(AmqpConnection.layer()),
          Layer.provide(AmqpMemory.layer),
          Layer.provideMerge(quiet)
        )
      )
    )
  }))
