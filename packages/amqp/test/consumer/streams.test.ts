import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule, Schema } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpRedrive, AmqpTopology } from "effect-amqp"
import type { AmqpDelivery, AmqpError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { logging, withOwnMetrics } from "../support/Consuming.ts"

const versions = ["3.10", "4.0", "4.3"] as const
const events = AmqpTopology.queue("events", { type: "stream" })
const jobs = AmqpTopology.queue("jobs", { type: "quorum" })
const fromFirst = { arguments: { "x-stream-offset": "first" }, prefetch: 5 }

const on = <A, E, R>(version: typeof versions[number], test: Effect.Effect<A, E, R>) =>
  test.pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
        Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(events, jobs))),
        Layer.provideMerge(AmqpConnection.layer()),
        Layer.provideMerge(AmqpMemory.layerWith({ version }))
      )
    ),
    withOwnMetrics
  )

const append = Effect.fnUntraced(function*(...bodies: ReadonlyArray<string>) {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  for (const body of bodies) yield* publisher.publish({ routingKey: "events", body })
  yield* settled
})

const epoch = Effect.map(
  Effect.flatMap(AmqpConnection.AmqpConnection, (connection) => connection.health),
  ({ consumers }) => consumers.map((consumer) => consumer._tag === "Attached" ? consumer.epoch : undefined)
)

const reasonOf = <A, R>(effect: Effect.Effect<A, AmqpError.AmqpError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const failing: ReadonlyArray<
  readonly [
    string,
    (delivery: AmqpDelivery.Delivery) => Effect.Effect<unknown, unknown>,
    Partial<AmqpConsumer.Options<unknown>>
  ]
> = [
  ["fails", () => Effect.fail("no"), {}],
  ["dies", () => Effect.die("bug"), {}],
  ["cannot decode its message", (delivery) => delivery.json(Schema.Struct({ id: Schema.Number })), {}],
  ["takes too long", () => Effect.never, { handlerTimeout: "200 millis" }],
  ["nacks by itself", (delivery) => delivery.nack({ requeue: true }), {}],
  ["rejects by itself", (delivery) => delivery.reject(), {}],
  ["interrupts itself", () => Effect.interrupt, {}],
  ["gives back by a policy that is a function", () => Effect.fail("no"), { onFailure: () => "giveBack" }],
  ["decides to dead-letter", () => AmqpConsumer.deadLetter, {}]
]

for (const version of versions) {
  describe(`a stream of RabbitMQ ${version}`, () => {
    it.effect.each(failing)("goes on, and costs nobody a connection, when a handler %s", ([, handler, options]) =>
      on(
        version,
        Effect.gen(function*() {
          yield* AmqpConsumer.make(jobs, () => Effect.void)
          yield* append("poison", "1", "2", "3")
          const seen: Array<string> = []
          yield* AmqpConsumer.make(
            events,
            (delivery) =>
              Effect.flatMap(delivery.text, (text) => {
                seen.push(text)
                return text === "poison" ? handler(delivery) : Effect.void
              }),
            { ...fromFirst, ...options }
          )
          yield* pass(2000)
          assert.deepStrictEqual(seen, ["poison", "1", "2", "3"])
          const [first, second] = yield* epoch
          assert.isDefined(first)
          assert.strictEqual(first, second)
          assert.strictEqual(
            yield* Effect.flatMap(AmqpConnection.AmqpConnection, ({ health }) =>
              Effect.map(health, ({ sessions }) =>
                sessions.filter(({ _tag }) => _tag === "Connected").length)),
            2
          )
        })
      ).pipe(Effect.provide(logging([]))))

    it.effect("appends what is tried again as copies, as often as the schedule says, and parks it then", () =>
      on(
        version,
        Effect.gen(function*() {
          const attempts: Array<number> = []
          const consumer = yield* AmqpConsumer.make(
            events,
            (delivery) => Effect.andThen(Effect.sync(() => attempts.push(delivery.attempts)), Effect.fail("no")),
            { ...fromFirst, onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("1 second"), { times: 2 })) }
          )
          yield* append("poison")
          yield* pass(5000)
          assert.deepStrictEqual(attempts, [1, 2, 3])
          assert.deepInclude(yield* consumer.counts, { retried: 2, parked: 1 })
          assert.strictEqual(
            yield* Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.depth("events.parked")),
            1
          )
        })
      ).pipe(Effect.provide(logging([]))))

    it.effect("is not given to get, purge, a conditional delete or a redrive, which harm its connection or lose it", () =>
      on(
        version,
        Effect.gen(function*() {
          const channel = yield* AmqpChannel.AmqpChannel
          yield* append("1")
          const refused: ReadonlyArray<Effect.Effect<unknown, AmqpError.AmqpError>> = [
            channel.get(events),
            channel.get(events, { noAck: true }),
            channel.purgeQueue(events),
            channel.deleteQueue(events, { ifEmpty: true }),
            channel.deleteQueue(events, { ifUnused: true }),
            channel.deleteQueue(jobs, { ifEmpty: true }),
            channel.deleteQueue(jobs, { ifUnused: true })
          ]
          for (const one of refused) assert.strictEqual((yield* reasonOf(one))._tag, "InvalidMessage")
          const redriven = yield* Effect.flip(AmqpRedrive.redrive(events, { to: jobs }))
          assert.strictEqual(redriven.reason._tag, "InvalidConfiguration")
          assert.strictEqual((yield* channel.checkQueue(events)).queue, "events")
        })
      ))

    it.effect("refuses policies that cannot work when the consumer is made", () =>
      on(
        version,
        Effect.gen(function*() {
          for (const onFailure of ["deadLetter", "requeue", "giveBack"] as const) {
            const reason = yield* reasonOf(AmqpConsumer.make(events, () => Effect.void, { ...fromFirst, onFailure }))
            assert.strictEqual(reason._tag, "InvalidConfiguration")
          }
          for (const options of [{ noAck: true }, { whenAckTimeout: "interrupt" }] as const) {
            const reason = yield* reasonOf(AmqpConsumer.make(events, () => Effect.void, { ...fromFirst, ...options }))
            assert.strictEqual(reason._tag, "InvalidConfiguration")
          }
        })
      ))

    it.effect.each(["frist", "", -1, 1.5, true, null, ["first"]])(
      "refuses the offset %s by name, at once",
      (offset) =>
        on(
          version,
          Effect.gen(function*() {
            yield* AmqpConsumer.make(jobs, () => Effect.void)
            const error = yield* Effect.flip(
              AmqpConsumer.make(events, () => Effect.void, { arguments: { "x-stream-offset": offset } })
            )
            assert.strictEqual(error.reason._tag, "InvalidConfiguration")
            assert.include(error.message, "events")
            assert.lengthOf((yield* epoch).filter((epoch) => epoch !== undefined), 1)
          })
        )
    )

    it.effect("is read on from where its reader was, by arguments that are asked at each attach", () =>
      on(
        version,
        Effect.gen(function*() {
          const broker = yield* AmqpMemory.AmqpMemory
          const seen: Array<string> = []
          let next = 0
          yield* AmqpConsumer.make(
            events,
            (delivery) =>
              Effect.map(delivery.text, (text) => {
                seen.push(text)
                next = Number(delivery.headers["x-stream-offset"]) + 1
              }),
            { arguments: Effect.sync(() => ({ "x-stream-offset": next })) }
          )
          yield* append("1", "2")
          yield* broker.cutConnections
          yield* pass(5000)
          yield* append("3")
          assert.deepStrictEqual(seen, ["1", "2", "3"])
        })
      ))
  })
}

describe("a stream by name", () => {
  it.effect("costs no connection on 3.10, and says that its retry needs the value", () => {
    const lines: Parameters<typeof logging>[0] = []
    return on(
      "3.10",
      Effect.gen(function*() {
        const consumer = yield* AmqpConsumer.make("events", () => Effect.fail("no"), {
          onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("1 second"), { times: 2 }))
        })
        yield* append("1", "2")
        yield* pass(1000)
        assert.deepInclude(yield* consumer.counts, { delivered: 2, dropped: 2, retried: 0 })
        assert.isTrue(lines.some(({ message }) => message.startsWith("AMQP message passed over")))
      })
    ).pipe(Effect.provide(logging(lines)))
  })

  it.effect("is warned of where it is put back, which a stream does not do", () => {
    const lines: Parameters<typeof logging>[0] = []
    return on(
      "4.0",
      Effect.gen(function*() {
        yield* AmqpConsumer.make("events", () => Effect.fail("no"), { onFailure: "requeue" })
        yield* append("1")
        yield* pass(1000)
        assert.lengthOf(lines.filter(({ message }) => message.startsWith("AMQP message has the offset of a stream")), 1)
      })
    ).pipe(Effect.provide(logging(lines)))
  })
})

describe("the wait queues of a stream", () => {
  it.effect("that an earlier release made as classic queues are refused by name before 4.0, which loses by them", () =>
    on(
      "3.10",
      Effect.gen(function*() {
        yield* AmqpTopology.declare(
          AmqpConsumer.retryTopology("events", Schedule.upTo(Schedule.spaced("1 second"), { times: 1 }))
        )
        const reason = yield* reasonOf(AmqpConsumer.make(events, () => Effect.void, {
          ...fromFirst,
          onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("1 second"), { times: 1 }))
        }))
        assert.strictEqual(reason._tag, "TopologyMismatch")
        assert.include(reason.message, "events.retry.1000")
      })
    ))
})
