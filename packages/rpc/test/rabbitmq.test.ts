import { assert, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer } from "effect"
import type { Scope } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpRpc } from "effect-amqp-rpc"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { RpcSerialization } from "effect/rpc"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Journal, journal } from "./support/Calc.ts"
import * as Ends from "./support/Ends.ts"

const calc = AmqpRpc.service("calc")
const program = fileURLToPath(new URL("support/process.ts", import.meta.url))

/** A process that is there, and that is killed with the scope at the latest. */
const start = Effect.fnUntraced(function*(role: "server" | "client", url: string, name: string) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, [program, role, url, name], { stdio: ["ignore", "pipe", "inherit"] })),
    (child) => Effect.sync(() => void child.kill("SIGKILL"))
  )
  yield* Effect.callback<void>((resume) => {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (text.split("\n").includes("there")) resume(Effect.void)
    })
    child.once("exit", () => resume(Effect.die(new Error(`the ${role} ${name} ended`))))
  }).pipe(Patience.within(`the ${role} ${name} is there`))
  return child
})

const amqp = (url: string) =>
  Layer.merge(
    RpcSerialization.layerJson,
    AmqpConnection.layer({ endpoints: url, operationTimeout: Patience.limit })
  )

const client = (url: string) => Ends.client("client", { service: calc, amqp: amqp(url), deadline: Patience.limit })

const server = (url: string, name: string) =>
  Ends.server(name, { service: calc, amqp: amqp(url), concurrency: 256, drainTimeout: Patience.limit })

const withBroker = <A, E>(test: (url: string) => Effect.Effect<A, E, Journal | Scope.Scope>) =>
  SharedRabbitMq.make.pipe(
    Effect.flatMap(({ url }) => test(url)),
    Effect.scoped,
    Effect.provide(journal)
  )

describeWithSharedBroker("effect/rpc over RabbitMQ, where processes are killed", () => {
  it.live("answers each of 1,000 calls, although one of two servers is killed under them", () =>
    withBroker(Effect.fnUntraced(function*(url) {
      const { Wait } = yield* client(url)
      const first = yield* start("server", url, "first")
      yield* start("server", url, "second")
      const answers = new Map<string, number>()
      const calls = Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i),
        (i) =>
          Effect.map(
            Wait({ id: `${i}`, millis: 100 }),
            (server) => answers.set(server, (answers.get(server) ?? 0) + 1)
          ),
        { concurrency: "unbounded" }
      )
      const killing = Patience.until(
        "the first server answers",
        Effect.sync(() => answers.has("first"))
      ).pipe(Effect.andThen(Effect.sync(() => first.kill("SIGKILL"))))
      yield* Effect.all([calls, killing], { concurrency: "unbounded" })
      assert.strictEqual((answers.get("first") ?? 0) + (answers.get("second") ?? 0), 1000)
      assert.isAbove(answers.get("second") ?? 0, answers.get("first") ?? 0)
    })))

  it.live("fails a call as poison that kills five servers, one after the other, and answers the others", () =>
    withBroker(Effect.fnUntraced(function*(url) {
      const { Add, KillServer } = yield* client(url)
      const others = { answered: 0, isOver: false }
      const servers = yield* Effect.forEach(
        ["a", "b", "c", "d", "e", "f"],
        (name) => start("server", url, name),
        { concurrency: "unbounded" }
      )
      const calling = yield* Effect.forkChild(
        Effect.whileLoop({
          while: () => !others.isOver,
          body: () => Add({ a: others.answered, b: 1 }),
          step: (sum) => assert.strictEqual(sum, ++others.answered)
        }),
        { startImmediately: true }
      )
      const poison = yield* Effect.forkChild(Effect.flip(KillServer()), { startImmediately: true })
      const error = yield* Fiber.join(poison).pipe(Patience.within("the call has an outcome"))
      assert.isTrue(AmqpRpc.isPoison(error))
      assert.lengthOf(servers.filter(({ signalCode }) => signalCode === "SIGKILL"), 5)
      others.isOver = true
      yield* Fiber.join(calling)
      assert.isAbove(others.answered, 0)
    })))

  it.live("frees the handler of a stream of a million items whose reader is killed", () =>
    withBroker(Effect.fnUntraced(function*(url) {
      yield* server(url, "server")
      const { lines } = Context.get(yield* Effect.context<Journal>(), Journal)
      const reader = yield* start("client", url, "reader")
      assert.deepStrictEqual(lines, [])
      reader.kill("SIGKILL")
      yield* Patience.until("the handler is freed", Effect.sync(() => lines.includes("server released Count")))
    })))

  it.live("fails no call while three servers are replaced under load", () =>
    withBroker(Effect.fnUntraced(function*(url) {
      const { Wait } = yield* client(url)
      let servers = [yield* server(url, "s0"), yield* server(url, "s1"), yield* server(url, "s2")]
      const calls: Array<Fiber.Fiber<string, unknown>> = []
      const load = { isOver: false }
      yield* Effect.forkScoped(
        Effect.gen(function*() {
          for (let i = 0; !load.isOver; i++) {
            calls.push(yield* Effect.forkScoped(Wait({ id: `${i}`, millis: 50 })))
            yield* Effect.sleep("2 millis")
          }
        })
      )
      for (let i = 3; i < 6; i++) {
        yield* Effect.sleep("200 millis")
        const [oldest, ...others] = servers
        yield* oldest!.close
        servers = [...others, yield* server(url, `s${i}`)]
      }
      load.isOver = true
      const answered = yield* Effect.forEach(calls, (fiber) =>
        Effect.callback<Exit.Exit<string, unknown>>((resume) => {
          fiber.addObserver((exit) => resume(Effect.succeed(exit)))
        })).pipe(Patience.within("every call has an outcome"))
      assert.isAbove(answered.length, 100)
      assert.deepStrictEqual(answered.filter(Exit.isFailure), [])
    })))

  it.live("fails a call at once when there is no server, and when the last one has left", () =>
    withBroker(Effect.fnUntraced(function*(url) {
      const { Add } = yield* client(url)
      assert.isTrue(AmqpRpc.isNoServer(yield* Effect.flip(Add({ a: 1, b: 2 }))))
      const { close } = yield* server(url, "server")
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
      yield* close
      assert.isTrue(AmqpRpc.isNoServer(yield* Effect.flip(Add({ a: 1, b: 2 }))))
    })))

  it.live("says that the outcome of a call is unknown whose handler must not be repeated and whose server is killed", () =>
    withBroker(Effect.fnUntraced(function*(url) {
      const { Charge } = yield* client(url)
      const first = yield* start("server", url, "first")
      const charge = yield* Effect.forkChild(Effect.flip(Charge({ id: "card", millis: 600_000 })), {
        startImmediately: true
      })
      yield* Effect.sleep("500 millis")
      const { lines } = Context.get(yield* Effect.context<Journal>(), Journal)
      yield* server(url, "second")
      first.kill("SIGKILL")
      const error = yield* Effect.callback<unknown>((resume) => {
        charge.addObserver((exit) => resume(Effect.succeed(Exit.isSuccess(exit) ? exit.value : undefined)))
      }).pipe(Patience.within("the call has an outcome"))
      assert.isTrue(AmqpRpc.isOutcomeUnknown(error))
      assert.notInclude(lines, "second began card")
    })))
})
