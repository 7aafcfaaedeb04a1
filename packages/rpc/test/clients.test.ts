import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Stream } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc } from "effect-amqp-rpc"
import { RpcSerialization } from "effect/rpc"
import type { RequestEncoded } from "effect/rpc/RpcMessage"
import {
  begin,
  calc,
  client,
  exitOf,
  failureOf,
  kill,
  lines,
  pass,
  patientCalc,
  run,
  server,
  settle
} from "./support/Service.ts"

describe("the death of a client", () => {
  it.effect("frees a handler that sends nothing within the liveness interval and a little", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Never, name } = yield* client()
      yield* begin(Never({ id: "call" }))
      yield* kill(name)
      yield* pass(3)
      assert.deepStrictEqual(yield* lines, ["server began call", "server interrupted call"])
    })))

  it.effect("frees the handler of a stream", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Count, name } = yield* client()
      yield* begin(Stream.runForEach(Count({ to: 1_000_000 }), () => Effect.sleep("10 millis")))
      yield* pass(1)
      yield* kill(name)
      yield* pass(3)
      assert.deepStrictEqual(yield* lines, ["server released Count"])
    })))

  it.effect("costs other clients nothing", () =>
    run(Effect.gen(function*() {
      yield* server()
      const one = yield* client({ name: "one" })
      const other = yield* client({ name: "other" })
      yield* begin(one.Never({ id: "one" }))
      const call = yield* begin(other.Wait({ id: "other", millis: 6000 }))
      yield* kill(one.name)
      yield* pass(7)
      assert.deepStrictEqual(yield* exitOf(call), Exit.succeed("server"))
    })))

  it.effect("frees the handlers of a client that ends in order", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Never, close } = yield* client()
      const call = yield* begin(Never({ id: "call" }))
      yield* close
      yield* settle
      assert.isTrue(Exit.hasInterrupts(yield* exitOf(call)))
      assert.deepStrictEqual(yield* lines, ["server began call", "server interrupted call"])
    })))
})

describe("an interrupt", () => {
  it.effect("before the first answer reaches the one server that has the call", () =>
    run(Effect.gen(function*() {
      yield* Effect.forEach(["a", "b", "c"], (name) => server({ name }))
      const { Add, Never } = yield* client()
      const calls = yield* Effect.forEach(["1", "2", "3"], (id) => begin(Never({ id })))
      yield* Fiber.interrupt(calls[1]!)
      yield* settle
      assert.lengthOf((yield* lines).filter((line) => line.includes("interrupted")), 1)
      assert.lengthOf((yield* lines).filter((line) => line.endsWith("interrupted 2")), 1)
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("that overtakes its request leaves nothing to be begun", () =>
    run(Effect.gen(function*() {
      const { Never, Wait } = yield* client({ service: patientCalc })
      yield* server({ service: patientCalc, concurrency: 1 })
      const busy = yield* begin(Wait({ id: "busy", millis: 2000 }))
      const call = yield* begin(Never({ id: "behind" }))
      yield* Fiber.interrupt(call)
      yield* pass(3)
      assert.deepStrictEqual(yield* exitOf(busy), Exit.succeed("server"))
      assert.deepStrictEqual(yield* lines, ["server began busy", "server ended busy"])
    })))

  it.effect("frees the handler of a stream before its first part", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* server()
      const { Count } = yield* client()
      yield* broker.setLatency("1 second")
      const call = yield* begin(Stream.runDrain(Count({ to: 1_000_000 })))
      yield* pass(2)
      const interrupting = yield* begin(Fiber.interrupt(call))
      yield* pass(5)
      assert.isDefined(interrupting.pollUnsafe())
      assert.deepStrictEqual(yield* lines, ["server released Count"])
    })))
})

describe("the deadline of a call", () => {
  it.effect("ends a call whose handler takes too long, and the handler", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Wait } = yield* client({ deadline: "2 seconds" })
      const call = yield* begin(Effect.flip(Wait({ id: "slow", millis: 60_000 })))
      yield* pass(3)
      const error = yield* Fiber.join(call)
      assert.isTrue(AmqpRpc.isOutcomeUnknown(error))
      assert.isFalse(AmqpRpc.isNoServer(error))
      assert.strictEqual(error.message, `RpcClientDefect: "calc" gave no answer within 2000 ms`)
      assert.deepStrictEqual(yield* lines, ["server began slow", "server interrupted slow"])
    })))

  it.effect("does not end a stream that has begun", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Count } = yield* client({ deadline: "2 seconds" })
      const call = yield* begin(
        Stream.runForEach(Count({ to: 1000 }), (n) => n % 100 === 0 ? Effect.sleep("1 second") : Effect.void)
      )
      yield* pass(11)
      assert.deepStrictEqual(yield* exitOf(call), Exit.void)
    })))

  it.effect("ends a call that was made without a connection: it was not sent", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* server()
      const { Add, name } = yield* client({ deadline: "2 seconds" })
      yield* kill(name)
      const call = yield* begin(Add({ a: 1, b: 2 }))
      yield* pass(3)
      assert.deepInclude(failureOf(yield* exitOf(call)), { _tag: "DeadlineExceeded", wasSent: false })
      yield* broker.setEndpoint({ host: "client.example", port: 5672 }, "answers")
      yield* pass(10)
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("ends a call to a broker that answers nothing any more", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* server()
      const { Add } = yield* client({ deadline: "10 seconds" })
      yield* broker.stopAnswering()
      const call = yield* begin(Add({ a: 1, b: 2 }))
      yield* pass(11)
      assert.strictEqual(failureOf(yield* exitOf(call))?._tag, "DeadlineExceeded")
      yield* broker.resumeAnswering
    })))

  it.effect("may be infinite", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Wait } = yield* client({ deadline: "Infinity" })
      const call = yield* begin(Wait({ id: "long", millis: 600_000 }))
      yield* pass(601)
      assert.deepStrictEqual(yield* exitOf(call), Exit.succeed("server"))
    })))
})

describe("a lost connection", () => {
  it.effect("fails a call that was sent: its answer has no way back", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* server()
      const { Wait, name } = yield* client()
      const call = yield* begin(Effect.flip(Wait({ id: "call", millis: 1000 })))
      yield* broker.cutConnection(name)
      yield* settle
      const error = yield* Fiber.join(call)
      assert.isTrue(AmqpRpc.isOutcomeUnknown(error))
      yield* pass(3)
      assert.lengthOf((yield* lines).filter((line) => line.includes("began")), 1)
    })))

  it.effect("delays a call that was not sent until the next one", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Add, name } = yield* client({ deadline: "1 minute" })
      const broker = yield* AmqpMemory.AmqpMemory
      yield* kill(name)
      const calls = yield* Effect.forEach([1, 2, 3], (a) => begin(Add({ a, b: 1 })))
      yield* pass(5)
      yield* broker.setEndpoint({ host: "client.example", port: 5672 }, "answers")
      yield* pass(10)
      assert.deepStrictEqual(yield* Effect.forEach(calls, exitOf), [2, 3, 4].map((n) => Exit.succeed(n)))
    })))

  it.effect("of the server costs a call that runs nothing", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { name } = yield* server()
      const { Wait } = yield* client({ service: calc })
      const call = yield* begin(Wait({ id: "call", millis: 3000 }))
      yield* pass(1)
      yield* broker.cutConnection(name)
      yield* pass(12)
      assert.deepStrictEqual(yield* exitOf(call), Exit.succeed("server"))
    })))
})

describe("a message that is wrong", () => {
  it.effect("fails a call whose request is too large, and no other", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Add, Echo } = yield* client()
      const failure = failureOf(yield* Effect.exit(Echo({ text: "x".repeat(17 * 1024 * 1024) })))
      assert.deepInclude(failure, { _tag: "TooLarge", part: "request" })
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("fails a call whose answer is too large, and no other", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { Add, Large } = yield* client()
      const failure = failureOf(yield* Effect.exit(Large({ bytes: 17 * 1024 * 1024 })))
      assert.deepInclude(failure, { _tag: "TooLarge", part: "answer" })
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("fails a call in another serialization than the server's, and says which", () =>
    run(Effect.gen(function*() {
      yield* server({ serialization: RpcSerialization.layerNdjson })
      const { Add } = yield* client()
      const failure = failureOf(yield* Effect.exit(Add({ a: 1, b: 2 })))
      assert.strictEqual(
        failure?.message,
        `a server of "calc" cannot read the call: it is "application/json", and "application/x-ndjson" is expected`
      )
    })))

  it.effect("costs the server nothing if it is no call at all", () =>
    run(
      Effect.gen(function*() {
        yield* server()
        const { Add } = yield* client()
        const publisher = yield* AmqpPublisher.make()
        for (const body of ["", "{", `{"_tag":"Request"}`, `[]`, `null`, `{"_tag":"Nonsense"}`]) {
          for (const contentType of ["application/json", "text/plain"]) {
            yield* publisher.publish({ routingKey: "calc", body, contentType })
            yield* publisher.publish({ routingKey: "calc", body, contentType, replyTo: "nobody", correlationId: "1" })
            yield* publisher.publish({ exchange: "calc.control", routingKey: "", body, contentType, replyTo: "nobody" })
          }
        }
        yield* pass(3)
        assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
        const channel = yield* AmqpChannel.make()
        assert.isTrue(Option.isNone(yield* channel.get("calc")))
      }).pipe(Effect.provide(AmqpConnection.layer()))
    ))
})

describe("the options", () => {
  const refused = (layer: ReturnType<typeof client>) => Effect.map(Effect.flip(layer), (error) => error.reason.message)

  it.effect("are refused if they cannot work", () =>
    run(Effect.gen(function*() {
      assert.include(yield* refused(client({ deadline: 0 })), "deadline")
      assert.include(yield* refused(client({ livenessInterval: "Infinity" })), "livenessInterval")
      const stays = AmqpRpc.service("calc", { queue: AmqpTopology.queue("calc") })
      assert.include(yield* refused(client({ service: stays })), "autoDelete: true")
      const goes = AmqpRpc.service("calc", {
        whenNoServer: "wait",
        queue: AmqpTopology.queue("calc", { autoDelete: true })
      })
      assert.include(yield* refused(client({ service: goes })), "autoDelete")
      assert.include((yield* Effect.flip(server({ concurrency: 0 }))).reason.message, "concurrency")
    })))
})

describe("a notification", () => {
  const notification = (id: string): RequestEncoded => ({
    _tag: "Request",
    id: "",
    tag: "Wait",
    payload: { id, millis: 10 },
    headers: [],
    isNotification: true
  })

  it.effect("without a connection waits for the next one, and is handled then", () =>
    run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* server()
      const { name, protocol } = yield* client({ connection: { retry: { interval: "3 seconds", max: 10 } } })
      yield* broker.cutConnection(name)
      yield* settle
      const sending = yield* begin(protocol.send(0, notification("told")))
      assert.isUndefined(sending.pollUnsafe())
      assert.deepStrictEqual(yield* lines, [])
      yield* pass(5)
      assert.isTrue(Exit.isSuccess(yield* exitOf(sending)))
      assert.deepStrictEqual(yield* lines, ["server began told", "server ended told"])
    })))

  it.effect("fails at its deadline if no connection comes", () =>
    run(Effect.gen(function*() {
      yield* server()
      const { name, protocol } = yield* client({ deadline: "5 seconds" })
      yield* kill(name)
      const sending = yield* begin(protocol.send(0, notification("never")))
      yield* pass(6)
      assert.deepInclude(failureOf(yield* exitOf(sending)), { _tag: "DeadlineExceeded", wasSent: false })
      assert.deepStrictEqual(yield* lines, [])
    })))

  it.effect("fails when there is no server", () =>
    run(Effect.gen(function*() {
      const { protocol } = yield* client()
      const sending = yield* begin(protocol.send(0, notification("nobody")))
      assert.strictEqual(failureOf(yield* exitOf(sending))?._tag, "NoServer")
    })))
})
