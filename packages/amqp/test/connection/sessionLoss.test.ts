import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schedule, Scope, Stream } from "effect"
import { AmqpChannel, AmqpConnection, AmqpError, AmqpPublisher, AmqpTopology, CurrentDriver } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { recoveryOf } from "../../src/internal/connection/service.ts"
import { newLog, reasonOf } from "../support/Connecting.ts"
import * as ScriptedDriver from "../support/ScriptedDriver.ts"
import * as Virtual from "../support/Virtual.ts"

/** What a broker says of a queue while the node that holds it is away: a refusal that heals. */
const nodeDown = new AmqpError.AmqpError({
  operation: "declareQueue invoices",
  reason: new AmqpError.NotFound({
    entity: "queue",
    entityName: "invoices",
    replyText: "home node is down",
    nodeDown: true
  })
})

describe("AmqpConnection when a session is lost", () => {
  it.effect("it reconnects by itself, and the states tell how", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      const states: Array<string> = []
      yield* connection.changes.pipe(
        Stream.filter((state) => state.role !== "consume"),
        Stream.runForEach((state) =>
          Effect.sync(() => {
            states.push(
              state._tag === "Connected"
                ? `Connected ${state.epoch}`
                : state._tag === "Reconnecting"
                ? `Reconnecting ${state.attempt}`
                : state._tag
            )
          })
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* TestClock.adjust("5 seconds")
      yield* broker.refuseConnects(2)
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(states, [
        "Connected 1",
        "Reconnecting 1",
        "Reconnecting 2",
        "Reconnecting 3",
        "Connected 2"
      ])
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("a spent budget fails what waits, what comes later, and `finished`, with ReconnectAbandoned", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      const channel = yield* AmqpChannel.AmqpChannel
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const finished = yield* connection.finished.pipe(Effect.exit, Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("5 seconds")
      yield* broker.refuseConnects(1000)
      yield* broker.cutConnections
      yield* Virtual.settle
      const waiting = yield* publisher.publish({ routingKey: "invoices", body: "x" }).pipe(
        Effect.flip,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "ReconnectAbandoned")
      assert.strictEqual((yield* Effect.flip(channel.checkQueue("invoices"))).reason._tag, "ReconnectAbandoned")
      const later = yield* Effect.flip(publisher.publish({ routingKey: "invoices", body: "x" }))
      assert.strictEqual(later.reason._tag, "ReconnectAbandoned")
      assert.strictEqual(later.published, "no")
      assert.strictEqual(reasonOf(yield* Fiber.join(finished))._tag, "ReconnectAbandoned")
      assert.strictEqual((yield* connection.state)._tag, "Failed")
    }).pipe(Effect.provide(Virtual.layer({ connection: { retry: { interval: "1 second", max: 3 } } }))))

  it.effect("a schedule that throws fails the connection, and is not taken for an orderly close", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.make({
        retry: Schedule.spaced("1 second").pipe(
          Schedule.while(() => {
            throw new Error("boom")
          })
        )
      })
      const finished = yield* connection.finished.pipe(Effect.exit, Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("5 seconds")
      yield* broker.cutConnections
      yield* Virtual.settle
      const [state] = (yield* connection.health).sessions
      assert.strictEqual(state._tag, "Failed")
      const reason = reasonOf(yield* Fiber.join(finished))
      assert.deepInclude(reason, { _tag: "InvalidConfiguration", option: "retry" })
      assert.match(reason.message, /boom/)
    }).pipe(Effect.provide(AmqpMemory.layer)))

  it.effect("a driver that dies fails the connection", () =>
    Effect.gen(function*() {
      const exit = yield* AmqpConnection.make().pipe(
        Effect.provideService(CurrentDriver.CurrentDriver, {
          name: "dying",
          connect: () => Effect.die(new Error("boom"))
        }),
        Effect.exit
      )
      assert.match(reasonOf(exit).message, /boom/)
    }))

  it.effect("any Schedule can replace the spaced one", () =>
    Effect.gen(function*() {
      const log = newLog()
      yield* AmqpConnection.make({ retry: Schedule.upTo(Schedule.exponential("1 second"), { times: 3 }) }).pipe(
        Effect.provideServiceEffect(CurrentDriver.CurrentDriver, ScriptedDriver.make([{ lasts: 5000 }], log)),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("60 seconds")
      assert.deepStrictEqual(log.dials, [0, 5000, 6000, 8000, 12000])
    }))

  it.effect("a session that lasts less than the interval does not end the outage before it", () =>
    Effect.gen(function*() {
      const log = newLog()
      const hangUp = { lasts: 10 }
      yield* AmqpConnection.make({ retry: { interval: "1 second", max: 3 } }).pipe(
        Effect.provideServiceEffect(
          CurrentDriver.CurrentDriver,
          ScriptedDriver.make(Array.from({ length: 100 }, () => hangUp), log)
        ),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("60 seconds")
      assert.deepStrictEqual(log.dials, [0, 1010, 2020, 3030])
    }))

  it.effect("it goes on when a publisher closes while its channel is opened again", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      const scope = yield* Scope.make()
      yield* AmqpPublisher.make().pipe(Scope.provide(scope))
      yield* TestClock.adjust("5 seconds")
      yield* broker.stopAnswering({ after: 1 })
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      yield* broker.resumeAnswering
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* connection.state)._tag, "Connected")
      const again = yield* Effect.forkChild(AmqpPublisher.make(), { startImmediately: true })
      yield* Virtual.settle
      assert.isDefined(again.pollUnsafe())
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("it does not wait for a setup that hangs", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      let hangs = false
      yield* recoveryOf(connection).register("publish", () => Effect.suspend(() => hangs ? Effect.never : Effect.void))
      yield* TestClock.adjust("5 seconds")
      hangs = true
      yield* broker.cutConnections
      yield* Virtual.settle
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
      hangs = false
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* connection.state)._tag, "Connected")
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("a setup whose owner has gone is not run again", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      const scope = yield* Scope.make()
      let runs = 0
      let held = 0
      yield* recoveryOf(connection).register("publish", () =>
        Effect.gen(function*() {
          runs++
          yield* Effect.acquireRelease(Effect.sync(() => held++), () => Effect.sync(() => held--))
          if (runs === 2) yield* nodeDown
        })).pipe(Scope.provide(scope))
      yield* TestClock.adjust("5 seconds")
      yield* broker.cutConnections
      yield* Virtual.settle
      assert.strictEqual(runs, 2)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual({ runs, held }, { runs: 2, held: 0 })
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("a setup that ran before is tried until what refuses it for now is over, and on the next session", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      const clock = yield* Effect.clockWith(Effect.succeed)
      let healsAt = 0
      const done: Array<number> = []
      yield* recoveryOf(connection).register(undefined, (session) =>
        Effect.suspend(() => {
          if (clock.currentTimeMillisUnsafe() < healsAt) return Effect.fail(nodeDown)
          done.push(session.epoch)
          return Effect.void
        }))
      yield* TestClock.adjust("5 seconds")
      healsAt = 45_000
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(done, [1, 2])
      healsAt = Infinity
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* TestClock.adjust("2 minutes")
      healsAt = 0
      yield* broker.cutConnections
      yield* Virtual.settle
      assert.deepStrictEqual(done, [1, 2, 4])
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("a publisher that finds an alarm when it comes back publishes again after it", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const first = yield* AmqpPublisher.make({ confirmTimeout: "10 minutes" })
      const second = yield* AmqpPublisher.make()
      yield* broker.block()
      const waiting = yield* first.publish({ routingKey: "invoices", body: "x" }).pipe(
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("5 seconds")
      yield* broker.cutConnections
      yield* Virtual.settle
      yield* TestClock.adjust("2 minutes")
      yield* broker.unblock
      yield* Virtual.settle
      yield* Fiber.join(waiting)
      yield* TestClock.adjust("10 seconds")
      yield* second.publish({ routingKey: "invoices", body: "y" })
      assert.strictEqual(yield* broker.depth("invoices"), 2)
    }).pipe(Effect.provide(
      AmqpTopology.layer(Virtual.topology).pipe(
        Layer.provideMerge(AmqpConnection.layer()),
        Layer.provideMerge(AmqpMemory.layer)
      )
    )))

  const budgets: ReadonlyArray<readonly [string, AmqpConnection.RetryOptions, number]> = [
    ["without retries", { max: 0 }, 2],
    ["without delays", Schedule.recurs(3), 5]
  ]
  it.effect.each(budgets)(
    "sessions of a millisecond are not dialled for ever under a budget %s",
    ([, retry, dials]) =>
      Effect.gen(function*() {
        const log = newLog()
        yield* AmqpConnection.make({ retry }).pipe(
          Effect.provideServiceEffect(
            CurrentDriver.CurrentDriver,
            ScriptedDriver.make(Array.from({ length: 100 }, () => ({ lasts: 1 })), log)
          ),
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust("60 seconds")
        assert.strictEqual(log.dials.length, dials)
      })
  )
})
