import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Layer, Redacted, Schedule } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpTopology } from "effect-amqp"
import type { AmqpError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"

const schedule = Schedule.upTo(Schedule.spaced("1 second"), { times: 2 })
const policy = AmqpConsumer.retry(schedule)
const quorum = AmqpTopology.queue("work", { type: "quorum" })
const classic = AmqpTopology.queue("work")

class NoStock extends Data.TaggedError("NoStock")<{ readonly item: string }> {
  override get message(): string {
    return `there is no ${this.item}`
  }
}

const client = (connection: AmqpConnection.Options = {}) =>
  Layer.mergeAll(AmqpPublisher.layer(), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpConnection.layer({ connectionName: "worker", ...connection }))
  )

const onMemory = <A, E, R>(
  test: Effect.Effect<A, E, R>,
  version: AmqpMemory.BrokerVersion = "4.0"
) =>
  test.pipe(
    Effect.scoped,
    Effect.provide(client().pipe(Layer.provideMerge(AmqpMemory.layerWith({ version }))))
  )

const consume = (queue: string | AmqpTopology.Queue, onFailure = policy) =>
  Effect.scoped(AmqpConsumer.make(queue, () => Effect.void, { onFailure }))

const reasonOf = <A, R>(effect: Effect.Effect<A, AmqpError.AmqpError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const argumentsOf = (name: string) =>
  Effect.map(Effect.flatMap(AmqpMemory.AmqpMemory, (broker) => broker.queue(name)), (queue) => queue?.arguments)

describe("the queues of a retry", () => {
  it.effect("that an earlier release made of a name are used when the queue is given as a quorum queue", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(quorum))
      yield* consume("work")
      yield* consume(quorum)
      assert.isUndefined((yield* argumentsOf("work.retry.1000"))?.["x-queue-type"])
    })))

  it.effect("that an earlier release made of a quorum queue are used when the queue is given by name", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(quorum))
      yield* consume(quorum)
      yield* consume("work")
      assert.strictEqual((yield* argumentsOf("work.retry.1000"))?.["x-queue-type"], "quorum")
    })))

  it.effect("are used where the queue was a classic one and is a quorum queue now, and messages come back", () =>
    onMemory(Effect.gen(function*() {
      yield* Effect.scoped(Effect.andThen(AmqpTopology.declare(AmqpTopology.make(classic)), consume(classic)))
      const channel = yield* AmqpChannel.AmqpChannel
      yield* channel.deleteQueue("work")
      yield* AmqpTopology.declare(AmqpTopology.make(quorum))
      let tries = 0
      yield* AmqpConsumer.make(quorum, () => Effect.suspend(() => ++tries < 3 ? Effect.fail("busy") : Effect.void), {
        onFailure: policy
      })
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publish({ routingKey: "work", body: "a" })
      yield* pass(5000)
      assert.strictEqual(tries, 3)
    })))

  for (
    const [what, other] of [
      ["an expiry of the queue", { "x-expires": 60_000 }],
      ["a maximum length", { "x-max-length": 10 }],
      ["another mode", { "x-queue-mode": "lazy" }]
    ] as const
  ) {
    it.effect(`are used where an operator made them with ${what}`, () =>
      onMemory(
        Effect.gen(function*() {
          const channel = yield* AmqpChannel.AmqpChannel
          yield* AmqpTopology.declare(AmqpTopology.make(classic))
          yield* channel.declareQueue({
            name: "work.retry.1000",
            arguments: {
              "x-message-ttl": 1000,
              "x-dead-letter-exchange": "",
              "x-dead-letter-routing-key": "work",
              ...other
            }
          })
          const attempts: Array<number> = []
          yield* AmqpConsumer.make(
            classic,
            (delivery) => Effect.andThen(Effect.sync(() => attempts.push(delivery.attempts)), Effect.fail("no")),
            { onFailure: policy }
          )
          const publisher = yield* AmqpPublisher.AmqpPublisher
          yield* publisher.publish({ routingKey: "work", body: "1" })
          yield* pass(5000)
          assert.deepStrictEqual(attempts, [1, 2, 3])
          assert.deepInclude(yield* argumentsOf("work.retry.1000"), other)
        }),
        "3.10"
      ))
  }

  it.effect("are used where an operator made them transient, and where the queue is transient and they are not", () =>
    onMemory(
      Effect.gen(function*() {
        const channel = yield* AmqpChannel.AmqpChannel
        const waits = (queue: string) => ({
          "x-message-ttl": 1000,
          "x-dead-letter-exchange": "",
          "x-dead-letter-routing-key": queue
        })
        yield* AmqpTopology.declare(AmqpTopology.make(classic))
        yield* channel.declareQueue({ name: "work.retry.1000", durable: false, arguments: waits("work") })
        yield* consume(classic)
        const transient = AmqpTopology.queue("passing", { durable: false })
        yield* AmqpTopology.declare(AmqpTopology.make(transient))
        yield* channel.declareQueue({ name: "passing.retry.1000", arguments: waits("passing") })
        yield* consume(transient)
      }),
      "3.10"
    ))

  it.effect("are refused by name where a message would wait for another time", () =>
    onMemory(Effect.gen(function*() {
      const wrong = AmqpTopology.queue("work.retry.1000", {
        type: "quorum",
        messageTtl: 5000,
        deadLetterExchange: "",
        deadLetterRoutingKey: "work"
      })
      yield* AmqpTopology.declare(AmqpTopology.make(classic, wrong))
      const reason = yield* reasonOf(consume(classic))
      assert.deepInclude(reason, {
        _tag: "TopologyMismatch",
        entityName: "work.retry.1000",
        argument: "x-message-ttl"
      })
    })))

  it.effect("are refused by name where a message would not come back", () =>
    onMemory(Effect.gen(function*() {
      const wrong = AmqpTopology.queue("work.retry.1000", {
        messageTtl: 1000,
        deadLetterExchange: "",
        deadLetterRoutingKey: "other"
      })
      yield* AmqpTopology.declare(AmqpTopology.make(classic, wrong))
      const reason = yield* reasonOf(consume(classic))
      assert.deepInclude(reason, { _tag: "TopologyMismatch", argument: "x-dead-letter-routing-key" })
    })))

  it.effect("that an operator made serve a user without the permission to configure", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Effect.scoped(
        AmqpTopology.declare(AmqpTopology.make(quorum, AmqpConsumer.retryTopology(quorum, schedule))).pipe(
          Effect.provide(client())
        )
      )
      yield* broker.setUser({
        name: "app",
        password: Redacted.make("app"),
        permissions: { configure: /^$/, write: /.*/, read: /.*/ }
      })
      const app = client({ endpoints: "amqp://app:app@localhost" })
      yield* Effect.gen(function*() {
        const handled: Array<number> = []
        yield* AmqpConsumer.make(quorum, (delivery) =>
          Effect.suspend(() => {
            handled.push(delivery.attempts)
            return Effect.fail("busy")
          }), { onFailure: policy })
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* publisher.publish({ routingKey: "work", body: "a" })
        yield* pass(5000)
        assert.deepStrictEqual(handled, [1, 2, 3])
        assert.strictEqual(yield* broker.depth("work.parked"), 1)
      }).pipe(Effect.scoped, Effect.provide(app))
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("that nobody made are refused to a user without the permission to configure", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Effect.scoped(AmqpTopology.declare(AmqpTopology.make(classic)).pipe(Effect.provide(client())))
      yield* broker.setUser({
        name: "app",
        password: Redacted.make("app"),
        permissions: { configure: /^$/, write: /.*/, read: /.*/ }
      })
      const reason = yield* reasonOf(
        consume(classic).pipe(Effect.provide(client({ endpoints: "amqp://app:app@localhost" })))
      )
      assert.strictEqual(reason._tag, "AccessRefused")
    }).pipe(Effect.provide(AmqpMemory.layer)))

  for (const [version, limit] of [["3.10", undefined], ["4.0", -1], ["4.3", -1]] as const) {
    it.effect(`lose no parked message to being looked at, on RabbitMQ ${version}`, () =>
      onMemory(
        Effect.gen(function*() {
          yield* AmqpTopology.declare(AmqpTopology.make(quorum))
          yield* AmqpConsumer.make(quorum, () => Effect.fail("no"), { onFailure: policy })
          const publisher = yield* AmqpPublisher.AmqpPublisher
          yield* publisher.publish({ routingKey: "work", body: "a" })
          yield* pass(5000)
          assert.strictEqual((yield* argumentsOf("work.parked"))?.["x-delivery-limit"], limit)
          const channel = yield* AmqpChannel.AmqpChannel
          for (let look = 0; look < 30; look++) {
            const parked = yield* channel.get("work.parked")
            assert.strictEqual(parked._tag, "Some", `look ${look}`)
            if (parked._tag === "Some") yield* parked.value.nack({ requeue: true })
            yield* pass(10, 10)
          }
        }),
        version
      ))
  }

  it.effect("tell why a message was parked", () =>
    onMemory(Effect.gen(function*() {
      const orders = AmqpTopology.exchange("orders", { type: "topic" })
      yield* AmqpTopology.declare(AmqpTopology.make(orders, quorum, AmqpTopology.bind(quorum, orders, "order.#")))
      yield* AmqpConsumer.make(quorum, () => Effect.fail(new NoStock({ item: "teapot" })), { onFailure: policy })
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publish({ exchange: orders, routingKey: "order.42", body: "a", headers: { tenant: "t" } })
      yield* pass(5000)
      const channel = yield* AmqpChannel.AmqpChannel
      const parked = yield* channel.get("work.parked")
      if (parked._tag === "None") return assert.fail("nothing is parked")
      const { exchange, headers, routingKey } = parked.value
      assert.deepInclude({ ...headers }, {
        tenant: "t",
        "x-parked-error": "NoStock",
        "x-parked-reason": "there is no teapot",
        "x-parked-attempts": 3
      })
      assert.instanceOf(headers["x-parked-at"], Date)
      assert.match(String(headers["x-parked-by"]), /^worker on ./)
      assert.deepStrictEqual([exchange, routingKey], ["orders", "order.42"])
    })))

  it.effect("hold a reason of any length and kind", () =>
    onMemory(Effect.gen(function*() {
      yield* AmqpTopology.declare(AmqpTopology.make(quorum))
      const failures = ["é".repeat(5000), "half \ud800 pair", {
        toString: () => {
          throw new Error("no text")
        }
      }, undefined]
      let next = 0
      yield* AmqpConsumer.make(quorum, () => Effect.suspend(() => Effect.fail(failures[next++ % failures.length])), {
        onFailure: AmqpConsumer.retry(Schedule.recurs(0))
      })
      const publisher = yield* AmqpPublisher.AmqpPublisher
      for (const _ of failures) yield* publisher.publish({ routingKey: "work", body: "a" })
      yield* pass(2000)
      const channel = yield* AmqpChannel.AmqpChannel
      for (const expected of [/^é{500,512}…$/, /half . pair/, /no text/, /undefined/]) {
        const parked = yield* channel.get("work.parked")
        if (parked._tag === "None") return assert.fail("a message is missing")
        yield* parked.value.ack()
        assert.match(String(parked.value.headers["x-parked-reason"]), expected)
      }
    })))

  it.effect("have the names and arguments that the options say", () =>
    onMemory(Effect.gen(function*() {
      const options = {
        waitQueue: (delay: number) => `later-${delay}`,
        parkingQueue: "graveyard",
        arguments: { "x-max-length": 10 }
      }
      const topology = AmqpConsumer.retryTopology(classic, schedule, options)
      assert.deepStrictEqual(topology.queues.map(({ name }) => name), ["later-1000", "graveyard"])
      assert.isTrue(topology.queues.every((queue) => queue.arguments["x-max-length"] === 10))
      yield* AmqpTopology.declare(AmqpTopology.make(classic, topology))
      yield* AmqpConsumer.make(classic, () => Effect.fail("no"), { onFailure: AmqpConsumer.retry(schedule, options) })
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* publisher.publish({ routingKey: "work", body: "a" })
      yield* pass(5000)
      const broker = yield* AmqpMemory.AmqpMemory
      assert.strictEqual(yield* broker.depth("graveyard"), 1)
    })))

  it("cannot be made of a schedule without an end", () => {
    assert.throws(() => AmqpConsumer.retryTopology("work", Schedule.spaced("1 second")), /goes on after 100 retries/)
  })
})
