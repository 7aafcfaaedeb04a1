import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Cause, ConfigProvider, Effect, Exit, Fiber, Layer, Redacted, Schedule, Scope, Stream } from "effect"
import type { AmqpDriver } from "effect-amqp"
import {
  AmqpChannel,
  AmqpConnection,
  AmqpError,
  AmqplibDriver,
  AmqpPublisher,
  AmqpTopology,
  CurrentDriver
} from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import * as diagnostics from "node:diagnostics_channel"
import { between } from "./support/Between.ts"
import * as ScriptedDriver from "./support/ScriptedDriver.ts"
import * as Virtual from "./support/Virtual.ts"

const newLog = (): ScriptedDriver.Log => ({ dials: [], open: 0, listeners: 0 })

const reasonOf = <A>(exit: Exit.Exit<A, AmqpError.AmqpError>): AmqpError.AmqpErrorReason => {
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") throw new Error(`expected a failure, got ${exit._tag}`)
  return error.value.reason
}

/** What a broker says of a queue while the node that holds it is away: a refusal that heals. */
const nodeDown = new AmqpError.AmqpError({
  operation: "declareQueue invoices",
  reason: new AmqpError.NotFound({ entity: "queue", name: "invoices", replyText: "home node is down", nodeDown: true })
})

interface Plan {
  readonly interval: number
  readonly max: number
  readonly startupInterval: number
  readonly startupMax: number
}

/** When the dials must happen, by the documentation alone. */
const expectedDials = (script: ReadonlyArray<ScriptedDriver.Dial>, plan: Plan): Array<number> => {
  const dials: Array<number> = []
  let now = 0
  let next = 0
  const dial = (): ScriptedDriver.Dial => {
    dials.push(now)
    return script[next++] ?? { refused: true }
  }
  let result = dial()
  for (let retry = 0; !("lasts" in result); retry++) {
    if (retry === plan.startupMax) return dials
    now += plan.startupInterval
    result = dial()
  }
  let retries = 0
  for (let isFirst = true;; isFirst = false) {
    if ("lasts" in result) {
      now += result.lasts
      if (result.lasts >= Math.max(isFirst ? 0 : 1000, plan.max === 0 ? 0 : plan.interval)) {
        retries = 0
        result = dial()
        continue
      }
    }
    if (retries === plan.max) return dials
    retries++
    now += plan.interval
    result = dial()
  }
}

describe("AmqpConnection", () => {
  describe("retries", () => {
    const Dial: Arbitrary.Arbitrary<ScriptedDriver.Dial> = Arbitrary.map(
      Arbitrary.all({ kind: between(0, 3), lasts: between(1, 4000) }),
      ({ kind, lasts }) => kind === 0 ? { lasts } : kind === 1 ? { hangsUp: true } : { refused: true }
    )
    it.effect.prop(
      "dials at exactly the instants that the schedules give, one budget per outage, and leaks nothing",
      {
        script: Arbitrary.array(Dial, { maxLength: 12 }),
        interval: between(1, 3000),
        max: between(0, 5),
        startupInterval: between(1, 3000),
        startupMax: between(0, 5)
      },
      ({ interval, max, script, startupInterval, startupMax }) =>
        Effect.gen(function*() {
          const log = newLog()
          const start = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
          const scope = yield* Scope.make()
          const connecting = yield* AmqpConnection.make({
            endpoints: "amqp://scripted",
            retry: { interval, max },
            startup: { interval: startupInterval, max: startupMax }
          }).pipe(
            Effect.provideServiceEffect(CurrentDriver.CurrentDriver, ScriptedDriver.make(script, log)),
            Scope.provide(scope),
            Effect.forkChild({ startImmediately: true })
          )
          const expected = expectedDials(script, { interval, max, startupInterval, startupMax })
          yield* TestClock.adjust(expected[expected.length - 1]! + 20_000)
          assert.deepStrictEqual(log.dials.map((at) => at - start), expected)
          yield* Scope.close(scope, Exit.void)
          yield* Fiber.await(connecting)
          assert.deepStrictEqual({ open: log.open, listeners: log.listeners }, { open: 0, listeners: 0 })
        }),
      { arbitrary: { runs: 300 } }
    )
  })

  describe("at start-up", () => {
    const driverThatFailsWith = (reason: AmqpError.AmqpErrorReason, dials: Array<string>) =>
      Layer.succeed(CurrentDriver.CurrentDriver, {
        name: "failing",
        connect: (options) =>
          Effect.suspend(() => {
            dials.push(options.host)
            return Effect.fail(new AmqpError.AmqpError({ operation: "connect", reason }))
          })
      })
    const address = { host: "a", port: 5672 }

    it.effect("refused credentials fail at once, without a retry", () =>
      Effect.gen(function*() {
        const dials: Array<string> = []
        const exit = yield* AmqpConnection.make({ endpoints: "amqp://a" }).pipe(
          Effect.provide(
            driverThatFailsWith(new AmqpError.AuthenticationRefused({ address, replyText: "ACCESS_REFUSED" }), dials)
          ),
          Effect.exit
        )
        assert.strictEqual(reasonOf(exit)._tag, "AuthenticationRefused")
        assert.strictEqual(dials.length, 1)
      }))

    it.effect("a refused virtual host fails at once, without a retry", () =>
      Effect.gen(function*() {
        const dials: Array<string> = []
        const exit = yield* AmqpConnection.make({ endpoints: "amqp://a/nope" }).pipe(
          Effect.provide(driverThatFailsWith(
            new AmqpError.VhostRefused({ address, vhost: "nope", replyCode: 530, replyText: "NOT_ALLOWED" }),
            dials
          )),
          Effect.exit
        )
        assert.strictEqual(reasonOf(exit)._tag, "VhostRefused")
        assert.strictEqual(dials.length, 1)
      }))

    it.effect("each attempt tries every endpoint once, and the layer fails with what the last attempt failed with", () =>
      Effect.gen(function*() {
        const dials: Array<string> = []
        const building = yield* Layer.build(
          AmqpConnection.layer({ endpoints: ["amqp://a", "amqp://b", "amqp://c"], startup: { max: 1 } })
        ).pipe(
          Effect.provide(
            driverThatFailsWith(new AmqpError.ConnectionRefused({ address, detail: "ECONNREFUSED" }), dials)
          ),
          Effect.exit,
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust("1 second")
        const exit = yield* Fiber.join(building)
        assert.strictEqual(reasonOf(exit)._tag, "ConnectionRefused")
        assert.deepStrictEqual(dials.slice(0, 3).sort(), ["a", "b", "c"])
        assert.deepStrictEqual(dials.slice(3).sort(), ["a", "b", "c"])
      }))

    it.effect("a session that ends before it is announced is an attempt of the start-up budget", () =>
      Effect.gen(function*() {
        const log = newLog()
        const building = yield* AmqpConnection.make({ startup: { max: 2 } }).pipe(
          Effect.provideServiceEffect(
            CurrentDriver.CurrentDriver,
            ScriptedDriver.make(Array.from({ length: 200 }, () => ({ hangsUp: true })), log)
          ),
          Effect.exit,
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(log.dials, [0, 1000, 2000])
        assert.strictEqual(reasonOf(yield* Fiber.join(building))._tag, "ConnectionLost")
      }))

    it.effect("a peer that never answers fails the attempt at the connect deadline", () =>
      Effect.gen(function*() {
        const building = yield* AmqpConnection.make({ connectTimeout: "3 seconds", startup: { max: 0 } }).pipe(
          Effect.provide(Layer.succeed(CurrentDriver.CurrentDriver, { name: "silent", connect: () => Effect.never })),
          Effect.exit,
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(building.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(reasonOf(yield* Fiber.join(building))._tag, "ConnectTimeout")
      }))
  })

  describe("when a session is lost", () => {
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
        yield* connection.register("publish", () => Effect.suspend(() => hangs ? Effect.never : Effect.void))
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
        yield* connection.register("publish", () =>
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
        yield* connection.register(undefined, (session) =>
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

  describe("blocked by the broker", () => {
    it.effect("the state says so and why, and says when it is over", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const connection = yield* AmqpConnection.AmqpConnection
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.block("low on memory")
        const publishing = yield* publisher.publish({ routingKey: "invoices", body: "x" }).pipe(
          Effect.forkChild({ startImmediately: true })
        )
        yield* Virtual.settle
        yield* TestClock.adjust("1 second")
        const [publish] = (yield* connection.health).sessions
        assert.deepInclude(publish, { _tag: "Blocked", reason: "low on memory", role: "publish" })
        yield* broker.unblock
        yield* Fiber.join(publishing)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* connection.state)._tag, "Connected")
      }).pipe(Effect.provide(Virtual.layer())))
  })

  describe("publishing and consuming", () => {
    it.effect("one role uses one session", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpPublisher.AmqpPublisher
        assert.strictEqual((yield* broker.counts).connections, 1)
      }).pipe(
        Effect.provide(
          AmqpPublisher.layer().pipe(Layer.provide(AmqpConnection.layer()), Layer.provideMerge(AmqpMemory.layer))
        )
      ))

    it.effect("two roles use two sessions of different epochs", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const connection = yield* AmqpConnection.AmqpConnection
        yield* TestClock.adjust(0)
        assert.strictEqual((yield* broker.counts).connections, 2)
        const { sessions } = yield* connection.health
        assert.deepStrictEqual(sessions.map((state) => state.role).sort(), ["consume", "publish"])
        assert.deepStrictEqual(
          sessions.map((state) => state._tag === "Connected" ? state.epoch : 0).sort(),
          [1, 2]
        )
      }).pipe(Effect.provide(Virtual.layer())))

    it.effect("an operation takes the session of its role when it runs, not when it is written down", () =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        const epochOf = (role: AmqpConnection.Role) =>
          connection.withSession(role, "test", (session) => Effect.succeed(session.epoch))
        const publish = epochOf("publish")
        const consume = epochOf("consume")
        assert.deepStrictEqual([yield* publish, yield* consume, yield* publish], [1, 2, 1])
      }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

    it.effect("a second session that is asked for during an outage waits for its end as the first does", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpPublisher.make()
        yield* TestClock.adjust("5 seconds")
        yield* broker.refuseConnects(1000)
        yield* broker.cutConnections
        yield* Virtual.settle
        const making = yield* Effect.forkChild(Effect.exit(AmqpChannel.make()), { startImmediately: true })
        yield* TestClock.adjust("50 seconds")
        yield* broker.refuseConnects(0)
        yield* TestClock.adjust("2 seconds")
        assert.isTrue(Exit.isSuccess(yield* Fiber.join(making)))
      }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))
  })

  describe("never hangs", () => {
    // Connecting twice, declaring, two channels, publish, get, ack, declare, and the goodbyes.
    const everything = Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const channel = yield* AmqpChannel.AmqpChannel
      yield* publisher.publish({ exchange: Virtual.orders, routingKey: "paid", body: "x" })
      const delivery = yield* channel.get(Virtual.invoices)
      if (delivery._tag === "Some") yield* channel.ack(delivery.value)
      yield* channel.declareQueue({ name: "other" })
      yield* channel.purgeQueue("other")
    }).pipe(Effect.provide(Virtual.application({
      connection: { startup: { max: 0 }, retry: { interval: "1 second", max: 2 } }
    })))

    const steps = 60
    it.effect(
      "everything settles within its bounds when the broker stops answering after step k, for all k",
      () =>
        Effect.gen(function*() {
          let complete = 0
          for (let k = 0; k < steps; k++) {
            yield* Effect.gen(function*() {
              const broker = yield* AmqpMemory.AmqpMemory
              yield* broker.stopAnswering({ after: k })
              const running = yield* everything.pipe(Effect.exit, Effect.forkChild({ startImmediately: true }))
              yield* Virtual.settle
              // Start-up, two attempts at 10 s with their retries, publish, four operations and the goodbyes.
              yield* TestClock.adjust("4 minutes")
              const exit = running.pollUnsafe()
              assert.isDefined(exit, `still running 4 minutes after the broker stopped answering at step ${k}`)
              if (Exit.isSuccess(exit!) && Exit.isSuccess(exit.value)) complete++
              yield* broker.resumeAnswering
              yield* TestClock.adjust("1 second")
              assert.deepStrictEqual(yield* broker.leftovers, [], `left over after the broker stopped at step ${k}`)
            }).pipe(Effect.provide(AmqpMemory.layer, { local: true }))
          }
          assert.isAbove(complete, 0, `no run of the program was over within ${steps} steps: raise the number of steps`)
          assert.isBelow(complete, steps)
        }),
      60_000
    )

    it.effect("interrupting at any step leaves nothing behind", () =>
      Effect.gen(function*() {
        for (let k = 0; k < steps; k++) {
          yield* Effect.gen(function*() {
            const broker = yield* AmqpMemory.AmqpMemory
            yield* broker.stopAnswering({ after: k })
            const running = yield* everything.pipe(Effect.exit, Effect.forkChild({ startImmediately: true }))
            yield* TestClock.adjust("1 second")
            const interrupting = yield* Fiber.interrupt(running).pipe(Effect.forkChild({ startImmediately: true }))
            yield* TestClock.adjust("1 minute")
            assert.isDefined(interrupting.pollUnsafe(), `interruption still under way, silent since step ${k}`)
            yield* broker.resumeAnswering
            yield* TestClock.adjust("1 second")
            assert.deepStrictEqual(yield* broker.leftovers, [], `left over after an interruption at step ${k}`)
          }).pipe(Effect.provide(AmqpMemory.layer, { local: true }))
        }
      }), 60_000)
  })

  describe("options", () => {
    const canary = "s3cr3t-canary"
    const optionsOf = (env: Record<string, string>) =>
      AmqpConnection.config.pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
      )
    const dialled = (options: AmqpConnection.Options) =>
      Effect.gen(function*() {
        const seen: Array<AmqpDriver.DriverConnectOptions> = []
        const exit = yield* AmqpConnection.make({ startup: { max: 0 }, ...options }).pipe(
          Effect.provideService(CurrentDriver.CurrentDriver, {
            name: "seeing",
            connect: (options) =>
              Effect.suspend(() => {
                seen.push(options)
                return Effect.fail(ScriptedDriver.lost)
              })
          }),
          Effect.scoped,
          Effect.exit
        )
        return { exit, seen }
      })

    it.effect("a URL names host, port, credentials and virtual host, percent-decoded", () =>
      Effect.gen(function*() {
        const { seen } = yield* dialled({ endpoints: "amqp://us%40er:p%2Fw@h:1234/v%2Fh?heartbeat=7" })
        assert.deepInclude(seen[0], {
          host: "h",
          port: 1234,
          vhost: "v/h",
          username: "us@er",
          heartbeat: 7,
          tls: undefined
        })
        assert.strictEqual(Redacted.value(seen[0]!.password), "p/w")
      }))

    it.effect("what a URL leaves out comes from the options, and then from RabbitMQ's defaults", () =>
      Effect.gen(function*() {
        const plain = yield* dialled({ endpoints: "amqp://h" })
        assert.deepInclude(plain.seen[0], { port: 5672, vhost: "/", username: "guest", heartbeat: 10 })
        const given = yield* dialled({
          endpoints: "amqps://h",
          username: "u",
          vhost: "v",
          password: Redacted.make("p")
        })
        assert.deepInclude(given.seen[0], { port: 5671, vhost: "v", username: "u", tls: {} })
        assert.strictEqual(Redacted.value(given.seen[0]!.password), "p")
      }))

    it.effect("the environment gives a URL, or parts, and the retry budget", () =>
      Effect.gen(function*() {
        const url = yield* optionsOf({
          AMQP_URL: `amqp://u:${canary}@a, amqp://b`,
          AMQP_PORT: "tcp://10.0.0.1:5672",
          AMQP_RETRY_INTERVAL: "250 millis",
          AMQP_RETRY_MAX: "7",
          AMQP_HEARTBEAT: "30 seconds"
        })
        const { seen } = yield* dialled(url)
        assert.deepStrictEqual(seen.map((options) => options.host).sort(), ["a", "b"])
        assert.strictEqual(seen[0]!.heartbeat, 30)
        assert.deepInclude(url.retry, { max: 7 })
        const parts = yield* optionsOf({
          AMQP_HOST: "h",
          AMQP_PORT: "1",
          AMQP_TLS: "true",
          AMQP_USERNAME: "u",
          AMQP_PASSWORD: canary,
          AMQP_VHOST: "v"
        })
        assert.deepInclude((yield* dialled(parts)).seen[0], { host: "h", port: 1, username: "u", vhost: "v", tls: {} })
      }))

    it.effect("an IPv6 address is dialled without its brackets", () =>
      Effect.gen(function*() {
        const url = yield* dialled({ endpoints: "amqp://[::1]:1234" })
        assert.deepInclude(url.seen[0], { host: "::1", port: 1234 })
        const parts = yield* dialled(yield* optionsOf({ AMQP_HOST: "[::1]" }))
        assert.deepInclude(parts.seen[0], { host: "::1" })
      }))

    it.effect("a host name of a URL is percent-decoded, so that it may have letters that ASCII has not", () =>
      Effect.gen(function*() {
        const { seen } = yield* dialled({ endpoints: ["amqp://ho%61st", "amqp://b\u00fccher.example"] })
        assert.deepStrictEqual(seen.map((options) => options.host).sort(), ["b\u00fccher.example", "hoast"])
      }))

    it.effect("an empty virtual host is the default one", () =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        yield* AmqpConnection.make({ endpoints: ["amqp://h/", { host: "h" }], vhost: "", startup: { max: 0 } })
        assert.strictEqual((yield* broker.counts).connections, 1)
      }).pipe(Effect.provide(AmqpMemory.layer)))

    it.effect("an option that is given as undefined leaves the environment's as it is", () =>
      Effect.gen(function*() {
        const seen: Array<AmqpDriver.DriverConnectOptions> = []
        yield* Layer.build(
          AmqpConnection.layerConfig({ endpoints: undefined, username: undefined, vhost: "v", startup: { max: 0 } })
        ).pipe(
          Effect.provideService(
            ConfigProvider.ConfigProvider,
            ConfigProvider.fromEnv({ env: { AMQP_URL: "amqp://a", AMQP_USERNAME: "u", AMQP_VHOST: "w" } })
          ),
          Effect.provideService(CurrentDriver.CurrentDriver, {
            name: "seeing",
            connect: (options) =>
              Effect.suspend(() => {
                seen.push(options)
                return Effect.fail(ScriptedDriver.lost)
              })
          }),
          Effect.exit
        )
        assert.deepInclude(seen[0], { host: "a", username: "u", vhost: "v" })
      }))

    it.effect("whole surrogate pairs are taken", () =>
      Effect.gen(function*() {
        const { seen } = yield* dialled({ vhost: "\u{1f430}" })
        assert.deepInclude(seen[0], { vhost: "\u{1f430}" })
      }))

    it.effect("amqplib's driver listens to no sockets after a connect that could not begin", () =>
      Effect.gen(function*() {
        const exit = yield* AmqplibDriver.driver.connect({
          host: "h",
          port: 5672,
          tls: undefined,
          vhost: "\ud800",
          username: "u",
          password: Redacted.make("p"),
          heartbeat: 10,
          connectionName: "c"
        }, { onBlocked() {}, onUnblocked() {}, onClose() {} }).pipe(Effect.exit)
        assert.isTrue(Exit.hasDies(exit))
        assert.isFalse(diagnostics.hasSubscribers("net.client.socket"))
      }))

    const invalid: ReadonlyArray<readonly [string, AmqpConnection.Options, RegExp]> = [
      ["an empty list of endpoints", { endpoints: [] }, /at least one/],
      ["a URL that cannot be parsed", { endpoints: `not a url ${canary}` }, /amqp:\/\/user/],
      ["a URL of another scheme", { endpoints: `http://u:${canary}@h` }, /"http:"/],
      ["a URL with a stray percent sign", { endpoints: `amqp://u:${canary}%@h` }, /%25/],
      ["a URL with an unknown parameter", { endpoints: `amqp://u:${canary}@h?frameMax=1` }, /"frameMax"/],
      ["a URL with a slash in the virtual host", { endpoints: "amqp://h/a/b" }, /%2F/],
      ["a URL with a slash in the password", { endpoints: `amqp://guest:1/${canary}@h` }, /%2F and %40/],
      ["a URL with two slashes in the password", { endpoints: `amqp://guest:1/2/${canary}@h` }, /%2F and %40/],
      ["a port out of range", { endpoints: { host: "h", port: 99999 } }, /65535/],
      ["an empty host", { endpoints: { host: "" } }, /host name/],
      ["half a surrogate pair in the virtual host", { vhost: "\ud800" }, /"vhost".*surrogate/],
      ["half a surrogate pair in the user name", { username: "\udfff" }, /"username".*surrogate/],
      [
        "half a surrogate pair in the password",
        { password: Redacted.make(`${canary}\ud800`) },
        /"password".*surrogate/
      ],
      ["no heartbeat", { heartbeat: 0 }, /1 to 65535/],
      ["a heartbeat of 10 milliseconds", { heartbeat: 10 }, /a number counts milliseconds/],
      ["a host by another name", { endpoints: { hostname: "h" } as unknown as { host: string } }, /no host name/],
      ["a password that is not Redacted", { password: canary as never }, /Redacted\.make/],
      ["a heartbeat of a broken second", { heartbeat: "1500 millis" }, /whole number of seconds/],
      ["no connect deadline", { connectTimeout: "Infinity" }, /finite/],
      ["an operation deadline of 0", { operationTimeout: 0 }, /more than 0/],
      ["a broken number of retries", { retry: { max: 1.5 } }, /whole number/],
      ["a negative number of retries", { startup: { max: -1 } }, /whole number/],
      ["an interval of 0", { retry: { interval: 0 } }, /more than 0/]
    ]
    it.effect.each(invalid)(
      "%s is refused before anything is dialled, without showing a secret",
      ([, options, says]) =>
        Effect.gen(function*() {
          const { exit, seen } = yield* dialled(options)
          const reason = reasonOf(exit)
          assert.strictEqual(reason._tag, "InvalidConfiguration")
          assert.match(reason.message, says)
          assert.strictEqual(seen.length, 0)
          assert.notInclude(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", canary)
        })
    )
  })
})
