import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpRedrive, AmqpTopology } from "effect-amqp"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"

const other = AmqpTopology.queue("other")
const sources = [AmqpTopology.queue("from", { type: "classic" }), AmqpTopology.queue("from", { type: "quorum" })]

const run = <A, E, R>(from: AmqpTopology.Queue, test: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SharedRabbitMq.make, ({ url }) =>
    test.pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(AmqpPublisher.layer({ confirmTimeout: Patience.limit }), AmqpChannel.layer()).pipe(
          Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(from, other))),
          Layer.provideMerge(AmqpConnection.layer({ endpoints: url, operationTimeout: Patience.limit }))
        )
      )
    ))

const send = (kind: string, count: number) =>
  Effect.flatMap(AmqpPublisher.AmqpPublisher, (publisher) =>
    publisher.publishAll(
      Array.from({ length: count }, (_, n) => ({ routingKey: "from", body: `${kind}${n}`, headers: { kind } }))
    ))

const count = (queue: string) =>
  Effect.flatMap(
    AmqpChannel.AmqpChannel,
    (channel) => Effect.map(channel.checkQueue(queue), ({ messageCount }) => messageCount)
  )

/** Wait until a queue has so many messages that are ready: a quorum queue has back a moment later what was kept. */
const has = (queue: string, messages: number) =>
  Patience.until(`${queue} has ${messages} messages`, Effect.map(count(queue), (ready) => ready === messages))

/** Read a queue of so many messages. */
const read = Effect.fnUntraced(function*(queue: string, messages: number) {
  yield* has(queue, messages)
  const channel = yield* AmqpChannel.AmqpChannel
  const bodies: Array<string> = []
  for (let n = 0; n < messages; n++) {
    const delivery = yield* channel.get(queue, { noAck: true })
    if (Option.isSome(delivery)) bodies.push(yield* delivery.value.text)
  }
  return bodies
})

const named = (kind: string, count: number) => Array.from({ length: count }, (_, n) => `${kind}${n}`)

describeWithSharedBroker("redrive on RabbitMQ", () => {
  for (const from of sources) {
    const type = String(from.arguments["x-queue-type"])

    it.live(`moves in order, and keeps the rest in its order: ${type}`, () =>
      run(
        from,
        Effect.gen(function*() {
          yield* send("a", 50)
          yield* send("b", 700)
          yield* send("c", 50)
          const where = {
            to: other,
            where: ({ headers }: { headers: Record<string, unknown> }) => headers["kind"] !== "b"
          }
          assert.deepStrictEqual(yield* AmqpRedrive.redrive(from, where), { moved: 100, kept: 700 })
          assert.deepStrictEqual(yield* read("other", 100), [...named("a", 50), ...named("c", 50)])
          yield* has("from", 700)
          assert.deepStrictEqual(yield* AmqpRedrive.redrive(from, { to: other, max: 10 }), { moved: 10, kept: 0 })
          assert.deepStrictEqual(yield* read("other", 10), named("b", 10))
          assert.deepStrictEqual(yield* read("from", 690), named("b", 700).slice(10))
        })
      ))

    it.live(`moves what was there at the start once, even into the same queue: ${type}`, () =>
      run(
        from,
        Effect.gen(function*() {
          yield* send("a", 600)
          assert.deepStrictEqual(yield* AmqpRedrive.redrive(from, { to: from }), { moved: 600, kept: 0 })
          assert.deepStrictEqual(yield* read("from", 600), named("a", 600))
        })
      ))

    it.live(`leaves in the queue what cannot be published: ${type}`, () =>
      run(
        from,
        Effect.gen(function*() {
          yield* send("a", 20)
          const error = yield* Effect.flip(AmqpRedrive.redrive(from, { to: "nowhere" }))
          assert.strictEqual(error.reason._tag, "Unroutable")
          assert.deepStrictEqual(yield* read("from", 20), named("a", 20))
        })
      ))
  }

  it.live("counts no delivery of what it keeps since RabbitMQ 4.3", () =>
    run(
      AmqpTopology.queue("from", { type: "quorum", deliveryLimit: 3 }),
      Effect.gen(function*() {
        yield* send("a", 30)
        const look = AmqpRedrive.redrive("from", { to: other, where: () => false })
        const { sessions: [session] } = yield* Effect.flatMap(AmqpConnection.AmqpConnection, ({ health }) => health)
        const version = session._tag === "Connected" ? String(session.serverProperties["version"]) : ""
        const [major, minor] = version.split(".").map(Number) as [number, number]
        if (major > 4 || (major === 4 && minor >= 3)) {
          for (let looks = 0; looks < 6; looks++) {
            assert.deepStrictEqual(yield* look, { moved: 0, kept: 30 })
            yield* has("from", 30)
          }
        } else {
          const looked = Effect.andThen(look, count("from"))
          yield* Patience.until("the queue has dropped what it kept", Effect.map(looked, (ready) => ready === 0))
        }
      })
    ))
})
