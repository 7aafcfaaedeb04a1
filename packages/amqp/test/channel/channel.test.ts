import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Schema, Scope } from "effect"
import {
  AmqpChannel,
  AmqpConnection,
  AmqpDelivery,
  AmqpDriver,
  AmqpError,
  AmqpPublisher,
  CurrentDriver
} from "effect-amqp"
import type { AmqpMessage } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { recoveryOf } from "../../src/internal/connection/service.ts"
import * as Virtual from "../support/Virtual.ts"

const reason = <A, R>(effect: Effect.Effect<A, AmqpError.AmqpError, R>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason)

const put = (...bodies: ReadonlyArray<AmqpMessage.Body>) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.AmqpPublisher
    for (const body of bodies) yield* publisher.publish({ routingKey: "invoices", body })
  })

const take = Effect.gen(function*() {
  const channel = yield* AmqpChannel.AmqpChannel
  const delivery = yield* channel.get("invoices")
  return yield* Effect.fromOption(delivery)
})

/** A driver whose channels are opened as `around` says. */
const withChannels = (
  driver: AmqpDriver.AmqpDriver,
  around: (
    open: Effect.Effect<AmqpDriver.DriverChannel, AmqpError.AmqpError>,
    events: AmqpDriver.DriverChannelEvents
  ) => Effect.Effect<AmqpDriver.DriverChannel, AmqpError.AmqpError>
): AmqpDriver.AmqpDriver => ({
  ...driver,
  connect: (options, events) =>
    Effect.map(driver.connect(options, events), (connection) => ({
      ...connection,
      openChannel: (options, events) => Effect.suspend(() => around(connection.openChannel(options, events), events))
    }))
})

describe("AmqpChannel", () => {
  it.effect("declares, checks, binds, purges and deletes", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* channel.declareExchange({ name: "e", type: "direct" })
      yield* channel.declareExchange({ name: "f", type: "fanout" })
      assert.deepStrictEqual(yield* channel.declareQueue({ name: "q" }), {
        queue: "q",
        messageCount: 0,
        consumerCount: 0
      })
      yield* channel.bindExchange("f", "e", { routingKey: "k" })
      yield* channel.bindQueue("q", "f")
      yield* publisher.publish({ exchange: "e", routingKey: "k", body: 1 })
      assert.strictEqual((yield* channel.checkQueue("q")).messageCount, 1)
      assert.strictEqual(yield* channel.purgeQueue("q"), 1)
      yield* channel.unbindQueue("q", "f")
      yield* channel.unbindExchange("f", "e", { routingKey: "k" })
      const nowhere = yield* Effect.flip(publisher.publish({ exchange: "e", routingKey: "k", body: 1 }))
      assert.strictEqual(nowhere.reason._tag, "Unroutable")
      assert.strictEqual(yield* channel.deleteQueue("q"), 0)
      yield* channel.deleteExchange("f")
      yield* channel.deleteExchange("e")
      assert.strictEqual((yield* reason(channel.checkExchange("e")))._tag, "NotFound")
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("lets the broker choose the name of a queue", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const { queue } = yield* channel.declareQueue({ name: "", exclusive: true })
      assert.match(queue, /^amq\.gen-/)
      yield* channel.checkQueue(queue)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("one that was given up before it was made leaves nothing behind in its scope", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const before = yield* broker.counts
      yield* broker.refuseConnects(4)
      yield* broker.cutConnections
      const waiting = yield* Effect.forkChild(Effect.timeoutOption(AmqpChannel.make(), "1 second"), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      assert.isTrue(Option.isNone(yield* Fiber.join(waiting)))
      yield* Effect.repeat(TestClock.adjust("1 second"), { times: 20 })
      assert.deepStrictEqual(yield* broker.counts, before)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("a failing probe closes no channel that others use", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* put("kept")
      const delivery = yield* take
      assert.deepInclude(yield* reason(channel.checkQueue("missing")), { _tag: "NotFound", entityName: "missing" })
      assert.deepInclude(yield* reason(channel.get("missing")), { _tag: "NotFound", entityName: "missing" })
      assert.match(
        (yield* reason(channel.checkQueue(""))).message,
        /^what was asked for does not exist \(NOT_FOUND - no previously/
      )
      assert.strictEqual((yield* reason(channel.purgeQueue("missing")))._tag, "NotFound")
      assert.strictEqual(
        (yield* reason(channel.declareQueue({ name: "invoices", durable: false })))._tag,
        "TopologyMismatch"
      )
      assert.isTrue(yield* channel.ack(delivery), "the delivery must still be the channel's to acknowledge")
      assert.deepInclude(yield* channel.checkQueue("invoices"), { messageCount: 0 })
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("looks at a queue twice a second for a minute on one session", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      const connection = yield* AmqpConnection.AmqpConnection
      const epochs = Effect.map(
        connection.health,
        ({ sessions }) => sessions.map((session) => session._tag === "Connected" ? session.epoch : session._tag)
      )
      yield* channel.checkQueue("invoices")
      yield* TestClock.adjust("2 seconds")
      const before = yield* epochs
      yield* Effect.forEach(
        Array.from({ length: 120 }),
        () => Effect.andThen(channel.checkQueue("invoices"), TestClock.adjust("500 millis")),
        { discard: true }
      )
      assert.deepStrictEqual(yield* epochs, before)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("get gives none from an empty queue", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      assert.isTrue(Option.isNone(yield* channel.get("invoices")))
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("a delivery is read as text, as JSON of a schema, or as bytes", () =>
    Effect.gen(function*() {
      const Order = Schema.Struct({ id: Schema.Number })
      yield* put({ id: 42 }, "not json", new Uint8Array([0xff]))
      const order = yield* take
      assert.deepStrictEqual(yield* order.json(Order), { id: 42 })
      const text = yield* take
      assert.strictEqual(yield* text.text, "not json")
      assert.instanceOf(yield* Effect.flip(text.json(Order)), AmqpDelivery.DecodeError)
      const bytes = yield* take
      assert.deepStrictEqual([...bytes.body], [0xff])
      assert.instanceOf(yield* Effect.flip(bytes.text), AmqpDelivery.DecodeError)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("ack removes, nack with requeue puts back, reject removes", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* put(1, 2, 3)
      assert.isTrue(yield* channel.ack(yield* take))
      assert.isTrue(yield* channel.nack(yield* take, { requeue: true }))
      const again = yield* take
      assert.isTrue(again.redelivered)
      assert.strictEqual(yield* again.text, "2")
      assert.isTrue(yield* channel.reject(again))
      assert.strictEqual((yield* channel.checkQueue("invoices")).messageCount, 1)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("settling twice, or what was settled with others, writes nothing and keeps the channel", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      yield* put(1, 2, 3)
      const [first, second, third] = [yield* take, yield* take, yield* take]
      assert.isTrue(yield* channel.ack(second, { multiple: true }))
      assert.isFalse(yield* channel.ack(second))
      assert.isFalse(yield* channel.nack(first, { requeue: true }))
      assert.isTrue(yield* channel.ack(third))
      yield* Virtual.settle
      assert.strictEqual((yield* broker.counts).unacked, 0)
      assert.strictEqual((yield* channel.checkQueue("invoices")).messageCount, 0)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("a message taken with noAck needs no acknowledgement, and one writes nothing", () =>
    Effect.gen(function*() {
      const channel = yield* AmqpChannel.AmqpChannel
      yield* put(1)
      const delivery = yield* Effect.fromOption(yield* channel.get("invoices", { noAck: true }))
      assert.isFalse(yield* channel.ack(delivery))
      yield* channel.checkQueue("invoices")
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("an acknowledgement of an earlier session is counted and dropped, and the message comes again", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      yield* put("first", "second")
      const stale = yield* take
      yield* TestClock.adjust("5 seconds")
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* TestClock.adjust("2 seconds")
      // The same delivery tag on the new channel: a stale ack of it would lose this message.
      const fresh = yield* take
      assert.strictEqual(yield* fresh.text, "first")
      assert.strictEqual(fresh.deliveryTag, stale.deliveryTag)
      assert.isAbove(fresh.epoch, stale.epoch)
      assert.isFalse(yield* channel.ack(stale))
      assert.strictEqual(yield* channel.staleAcks, 1)
      yield* channel.nack(fresh, { requeue: true })
      assert.strictEqual((yield* channel.checkQueue("invoices")).messageCount, 2)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("an operation without a connection fails at the operation deadline", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      yield* TestClock.adjust("5 seconds")
      yield* broker.refuseConnects(1000)
      yield* broker.cutConnections
      yield* Virtual.settle
      const checking = yield* Effect.forkChild(reason(channel.checkQueue("invoices")), { startImmediately: true })
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(checking.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* Fiber.join(checking), { _tag: "ConnectionLost" })
    }).pipe(Effect.provide(Virtual.layer({ connection: { operationTimeout: "3 seconds" } }))))

  it.effect("waiting for a connection and waiting for an answer have a deadline each", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.make()
      yield* TestClock.adjust("5 seconds")
      yield* broker.refuseConnects(2)
      yield* broker.cutConnections
      yield* Virtual.settle
      const checking = yield* Effect.forkChild(reason(channel.checkQueue("invoices")), { startImmediately: true })
      // Connecting, the channel of `get` and the channel of the check are answered, at 2 seconds.
      yield* broker.stopAnswering({ after: 3 })
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(checking.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* Fiber.join(checking), { _tag: "OperationTimeout" })
    }).pipe(
      Effect.provide(AmqpConnection.layer({ operationTimeout: "3 seconds" })),
      Effect.provide(AmqpMemory.layer)
    ))

  it.effect("get gives up on a channel that cannot be opened again, and leaves the session alone", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* broker.limitChannels({ connection: 2 })
      const connection = yield* AmqpConnection.make()
      const channel = yield* AmqpChannel.make().pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
      yield* channel.declareQueue({ name: "q" })
      yield* channel.get("q")
      yield* broker.closeChannels({ replyCode: 406, replyText: "PRECONDITION_FAILED - timed out" })
      // Others are sooner.
      const others = yield* Scope.make()
      yield* recoveryOf(connection).withSession("consume", "open", (session) => {
        const open = session.openChannel({ confirm: false }, AmqpDriver.noChannelEvents)
        return Scope.provide(Effect.andThen(open, open), others)
      })
      const getting = yield* Effect.forkChild(reason(channel.get("q")), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Fiber.join(getting), { _tag: "ChannelLimit" })
      yield* Virtual.settle
      assert.deepInclude(yield* connection.state, { _tag: "Connected", epoch: 1 })
      yield* Scope.close(others, Exit.void)
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(Option.isNone(yield* channel.get("q")))
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("get waits for the next channel when one is closed as it is made ready", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      let opens = 0
      const driver = withChannels(yield* CurrentDriver.CurrentDriver, (open, events) =>
        Effect.map(open, (channel) => {
          if (events === AmqpDriver.noChannelEvents || ++opens !== 2) return channel
          let isClosed = false
          const error = new AmqpError.AmqpError({
            operation: "channel",
            reason: new AmqpError.ChannelClosed({ replyCode: 406, replyText: "PRECONDITION_FAILED" })
          })
          const close = Effect.sync(() => {
            isClosed = true
            events.onClose(error)
          })
          return {
            ...channel,
            isOpen: () => !isClosed && channel.isOpen(),
            prefetch: (count) => Effect.andThen(channel.prefetch(count), close),
            get: (queue, options) => Effect.suspend(() => isClosed ? Effect.fail(error) : channel.get(queue, options))
          }
        }))
      const connection = yield* AmqpConnection.make().pipe(Effect.provideService(CurrentDriver.CurrentDriver, driver))
      const channel = yield* AmqpChannel.make({ prefetch: 1 }).pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection)
      )
      yield* channel.declareQueue({ name: "q" })
      // Too young to be opened again at once, so that the get below is there before it is.
      yield* broker.closeChannels({ replyCode: 406, replyText: "PRECONDITION_FAILED - timed out" })
      yield* Virtual.settle
      const getting = yield* Effect.forkChild(channel.get("q"), { startImmediately: true })
      yield* Virtual.settle
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.join(getting)))
      assert.isAbove(opens, 2)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  const names: ReadonlyArray<
    readonly [string, (channel: AmqpChannel.AmqpChannel) => Effect.Effect<unknown, AmqpError.AmqpError>]
  > = [
    ["a queue of 256 bytes", (channel) => channel.declareQueue({ name: "q".repeat(256) })],
    ["an exchange of 256 bytes", (channel) => channel.declareExchange({ name: "e".repeat(256), type: "direct" })],
    ["a routing key of 256 bytes", (channel) => channel.bindQueue("q", "e", { routingKey: "k".repeat(256) })],
    ["an argument that is NaN", (channel) => channel.declareQueue({ name: "q", arguments: { "x-expires": NaN } })],
    ["a queue that is no string", (channel) => channel.checkQueue(7 as unknown as string)]
  ]
  it.effect.each(names)("%s is refused before it is sent", ([, operation]) =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const channel = yield* AmqpChannel.AmqpChannel
      const before = yield* broker.operations
      assert.strictEqual((yield* reason(operation(channel)))._tag, "InvalidMessage")
      assert.strictEqual(yield* broker.operations, before)
    }).pipe(Effect.provide(Virtual.layer())))

  it.effect("a prefetch out of range is refused", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* reason(AmqpChannel.make({ prefetch: 0 })))._tag, "InvalidMessage")
      yield* AmqpChannel.make({ prefetch: 100 })
    }).pipe(Effect.provide(AmqpConnection.layer()), Effect.provide(AmqpMemory.layer)))

  it.effect("many operations for which the broker ends the connection fail themselves, and do not end it for good", () =>
    Effect.gen(function*() {
      const connection = yield* AmqpConnection.AmqpConnection
      const channel = yield* AmqpChannel.AmqpChannel
      const declaring = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 20 }, (_, n) => n),
          (n) =>
            reason(channel.declareQueue({ name: `q${n}`, arguments: { "x-queue-type": "stream", "x-max-age": "" } }))
        ),
        { startImmediately: true }
      )
      for (let steps = 0; steps < 400 && declaring.pollUnsafe() === undefined; steps++) {
        yield* TestClock.adjust("100 millis")
      }
      for (const failure of yield* Fiber.join(declaring)) {
        assert.deepInclude(failure, { _tag: "ConnectionLost", replyCode: 541 })
      }
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* connection.state)._tag, "Connected")
      yield* channel.declareQueue({ name: "q" })
    }).pipe(Effect.provide(Virtual.layer({ connection: { retry: { interval: "1 second", max: 3 } } }))))
})
