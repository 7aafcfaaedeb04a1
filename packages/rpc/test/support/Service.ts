/**
 * Clients and servers of one service on the memory broker, each with a connection of its own, in virtual time.
 */
import { Cause, Effect, Exit, Layer, Scope } from "effect"
import type { Fiber } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc, CallError } from "effect-amqp-rpc"
import { RpcSerialization } from "effect/rpc"
import { TestClock } from "effect/testing"
import { Journal, journal } from "./Calc.ts"
import * as Ends from "./Ends.ts"

export const calc = AmqpRpc.service("calc")
export const patientCalc = AmqpRpc.service("calc", { whenNoServer: "wait" })

export interface Options {
  readonly name?: string
  readonly service?: AmqpRpc.Service
  readonly connection?: AmqpConnection.Options
  readonly serialization?: Layer.Layer<RpcSerialization.RpcSerialization>
}

const connection = (name: string, options: Options) =>
  AmqpConnection.layer({
    connectionName: name,
    endpoints: `amqp://${name}.example`,
    operationTimeout: "5 seconds",
    ...options.connection
  })

/**
 * Runs a test with a broker and a journal of its own. Its scope is closed while time goes on, because a server waits for
 * its running calls; nothing may be left at the broker then.
 */
export const run = <A, E>(
  test: Effect.Effect<A, E, AmqpMemory.AmqpMemory | Journal | Scope.Scope>,
  options: AmqpMemory.Options = {}
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const exit = yield* Effect.exit(Scope.provide(test, scope))
    const closing = yield* begin(Scope.close(scope, Exit.void))
    for (let seconds = 0; closing.pollUnsafe() === undefined; seconds++) {
      if (seconds > 120) return yield* Effect.die(new Error("the scope of the test does not end"))
      yield* pass(1)
    }
    const broker = yield* AmqpMemory.AmqpMemory
    const leftovers = yield* broker.leftovers
    if (Exit.isSuccess(exit) && leftovers.length > 0) {
      return yield* Effect.die(new Error(`the test leaves ${leftovers.join(", ")}`))
    }
    return yield* exit
  }).pipe(Effect.provide(journal), Effect.provide(AmqpMemory.layerWith(options)))

const amqp = (name: string, options: Options) =>
  Layer.merge(options.serialization ?? RpcSerialization.layerJson, connection(name, options))

/** Starts a server, which is there when this returns. */
export const server = (options: Options & AmqpRpc.ServerOptions = {}) => {
  const name = options.name ?? "server"
  return Effect.tap(
    Ends.server(name, { ...options, service: options.service ?? calc, amqp: amqp(name, options) }),
    settle
  )
}

/** Makes a client. */
export const client = (options: Options & AmqpRpc.ClientOptions = {}) => {
  const name = options.name ?? "client"
  return Ends.client(name, { ...options, service: options.service ?? calc, amqp: amqp(name, options) })
}

/** Lets everything happen that needs no time. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 100 })

/** Lets time pass in steps, so that whatever it wakes can go on meanwhile. */
export const pass = (seconds: number): Effect.Effect<void> =>
  Effect.repeat(Effect.andThen(TestClock.adjust("100 millis"), Effect.repeat(Effect.yieldNow, { times: 20 })), {
    times: seconds * 10 - 1
  })

/** Starts an effect and lets it come as far as it can without time passing. */
export const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), settle)

/** The failure of a call on its way, if it has one. */
export const failureOf = (exit: Exit.Exit<unknown, unknown>): CallError.CallFailure | undefined =>
  Exit.isFailure(exit) ? CallError.failureOf(Cause.squash(exit.cause)) : undefined

/** The exit of a fiber that has ended; a defect if it has not. */
export const exitOf = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.suspend(() => {
    const exit = fiber.pollUnsafe()
    return exit === undefined ? Effect.die(new Error("the call has no outcome")) : Effect.succeed(exit)
  })

/** Takes the connections of a client or a server away for good, as the death of its process does. */
export const kill = (name: string) =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    yield* broker.setEndpoint({ host: `${name}.example`, port: 5672 }, "refuses")
    yield* broker.cutConnection(name)
    yield* settle
  })

export const lines = Effect.map(Journal, (journal) => journal.lines)
