import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Cause, Effect, Exit, FiberSet, Layer } from "effect"
import type { AmqpDriver } from "effect-amqp"
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpError,
  AmqpPublisher,
  AmqpTopology,
  CurrentDriver
} from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { recoveryOf } from "../../src/internal/connection/service.ts"
import * as Virtual from "../support/Virtual.ts"

const lost = (replyCode: number | undefined, replyText: string) =>
  new AmqpError.AmqpError({ operation: "connection", reason: new AmqpError.ConnectionLost({ replyCode, replyText }) })

/** A broker that shakes hands and answers nothing else; its connections end after a time, if at all. */
const mute = (options: { readonly blocked: boolean; readonly endsAfter: number | undefined }, dials: Array<number>) =>
  Layer.effect(
    CurrentDriver.CurrentDriver,
    Effect.gen(function*() {
      const clock = yield* Effect.clockWith(Effect.succeed)
      const fork = yield* FiberSet.makeRuntime<never>()
      return {
        name: "mute",
        connect: (_, events) =>
          Effect.sync((): AmqpDriver.DriverConnection => {
            dials.push(clock.currentTimeMillisUnsafe())
            let isOver = false
            const end = (error: AmqpError.AmqpError) => {
              if (isOver) return
              isOver = true
              events.onClose(error)
            }
            if (options.blocked) events.onBlocked("low on memory")
            if (options.endsAfter !== undefined) {
              fork(Effect.andThen(Effect.sleep(options.endsAfter), Effect.sync(() => end(lost(undefined, "silence")))))
            }
            return {
              serverProperties: {},
              frameMax: 131072,
              openChannel: () => Effect.never,
              updateSecret: () => Effect.never,
              close: Effect.never,
              destroyUnsafe: end
            }
          })
      }
    })
  )

const makers: ReadonlyArray<
  readonly [string, Effect.Effect<unknown, AmqpError.AmqpError, AmqpConnection.AmqpConnection | Scope.Scope>]
> = [
  ["a topology", AmqpTopology.declare(Virtual.topology)],
  ["a channel", AmqpChannel.make()],
  ["a publisher", AmqpPublisher.make()],
  ["a consumer", AmqpConsumer.make("invoices", () => Effect.void)]
]
const brokers = [
  ["answers nothing after the handshake", { blocked: false, endsAfter: undefined }],
  ["is blocked, answers nothing, and is lost every 25 seconds", { blocked: true, endsAfter: 25_000 }],
  ["is lost every 5 seconds without an answer", { blocked: false, endsAfter: 5000 }]
] as const

describe("a component whose setup no session survives", () => {
  const cases = makers.flatMap(([maker, make]) =>
    brokers.map(([broker, options]) => [maker, broker, make, options] as const)
  )
  it.effect.each(cases)(
    "%s fails within three sessions or three heartbeats when the broker %s",
    ([, broker, make, options]) =>
      Effect.gen(function*() {
        const dials: Array<number> = []
        const program = Effect.scoped(make).pipe(
          Effect.provide(AmqpConnection.layer()),
          Effect.provide(mute(options, dials)),
          Effect.exit
        )
        const running = yield* Effect.forkChild(program, { startImmediately: true })
        // Three tries of 10 seconds with a pause of a second after each, and two goodbyes.
        for (let second = 0; second < 50; second++) {
          yield* Virtual.settle
          yield* TestClock.adjust("1 second")
        }
        const exit = running.pollUnsafe()
        assert.isDefined(exit, `still under way after ${dials.length} sessions`)
        if (exit !== undefined && Exit.isSuccess(exit)) assert.isTrue(Exit.isFailure(exit.value))
        assert.isAtMost(dials.length, broker === "answers nothing after the handshake" ? 3 : 8)
      })
  )

  it.effect("at work is given up by name when the broker closes three sessions for it, and the others are back", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      let isFatal = false
      let runs = 0
      const failures: Array<AmqpError.AmqpError> = []
      const neighbour: Array<number> = []
      yield* recoveryOf(connection).register("publish", (session) =>
        Effect.suspend(() => {
          runs++
          if (!isFatal) return Effect.void
          session.driver.destroyUnsafe(lost(541, "INTERNAL_ERROR - queue 'q'"))
          return Effect.fail(
            new AmqpError.AmqpError({ operation: "declareQueue q", reason: lost(541, "INTERNAL_ERROR").reason })
          )
        }), (error) => failures.push(error))
      yield* recoveryOf(connection).register("publish", (session) => Effect.sync(() => neighbour.push(session.epoch)))
      yield* TestClock.adjust("5 seconds")
      isFatal = true
      yield* broker.cutConnections
      for (let second = 0; second < 5; second++) {
        yield* Virtual.settle
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual((yield* connection.state)._tag, "Connected")
      assert.deepStrictEqual(neighbour, [1, 5])
      assert.strictEqual(runs, 4)
      assert.strictEqual(failures.length, 1)
      assert.strictEqual(failures[0]!.operation, "declareQueue q")
      assert.deepInclude(failures[0]!.reason as object, { _tag: "SetupAbandoned", sessions: 3 })
      assert.match(failures[0]!.message, /541 INTERNAL_ERROR - queue 'q'/)
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("at work is not given up when its sessions are cut without a word a few times", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const connection = yield* AmqpConnection.AmqpConnection
      let cuts = 0
      const done: Array<number> = []
      yield* recoveryOf(connection).register("publish", (session) =>
        Effect.suspend(() => {
          if (cuts-- > 0) {
            session.driver.destroyUnsafe(lost(undefined, "read ECONNRESET"))
            return Effect.never
          }
          done.push(session.epoch)
          return Effect.void
        }))
      yield* TestClock.adjust("5 seconds")
      cuts = 6
      yield* broker.cutConnections
      for (let second = 0; second < 10; second++) {
        yield* Virtual.settle
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(done, [1, 8])
    }).pipe(Effect.provide(AmqpConnection.layer().pipe(Layer.provideMerge(AmqpMemory.layer)))))

  it.effect("keeps the retry budget from beginning anew, however long its sessions live", () =>
    Effect.gen(function*() {
      const dials: Array<number> = []
      const exit = yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* AmqpConnection.make({ retry: { interval: "1 second", max: 4 } })
        let runs = 0
        yield* recoveryOf(connection).register("publish", () =>
          Effect.suspend(() => runs++ === 0 ? Effect.void : Effect.never))
        return yield* connection.finished
      })).pipe(
        Effect.provide(mute({ blocked: false, endsAfter: 20_000 }, dials)),
        Effect.exit,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("10 minutes")
      const ended = exit.pollUnsafe()
      assert.isDefined(ended, `${dials.length} dials`)
      if (ended !== undefined && Exit.isSuccess(ended) && Exit.isFailure(ended.value)) {
        assert.include(Cause.pretty(ended.value.cause), "gave up")
      }
    }))
})

describe("the end of a scope with several publishers during an alarm", () => {
  it.effect("takes one close deadline for all their channels and the connection", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const fresh = () => Layer.fresh(AmqpPublisher.layer())
      const publishers = Layer.mergeAll(fresh(), fresh(), fresh(), fresh(), fresh(), fresh())
      const program = Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.AmqpPublisher
        yield* broker.block("low on memory")
        yield* Effect.exit(publisher.publish({ routingKey: "q", body: "x" }))
      }).pipe(Effect.provide(publishers.pipe(Layer.provide(AmqpConnection.layer()))))
      const running = yield* Effect.forkChild(program, { startImmediately: true })
      yield* Virtual.settle
      // The publish has 5 seconds, and the goodbyes together have 5.
      for (let second = 0; second < 11; second++) {
        yield* TestClock.adjust("1 second")
        yield* Virtual.settle
      }
      assert.isDefined(running.pollUnsafe())
    }).pipe(Effect.provide(AmqpMemory.layer)))
})
