import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Stream } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc } from "effect-amqp-rpc"
import { RpcSerialization } from "effect/rpc"
import type { RequestEncoded } from "effect/rpc/RpcMessage"
import * as Service from "./support/Service.ts"

describe("the death of a client", () => {
  it.effect("frees a handler that sends nothing within the liveness interval and a little", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Never, name } = yield* Service.client()
      yield* Service.begin(Never({ id: "call" }))
      yield* Service.kill(name)
      yield* Service.pass(3)
      assert.deepStrictEqual(yield* Service.lines, ["server began call", "server interrupted call"])
    })))

  it.effect("frees the handler of a stream", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Count, name } = yield* Service.client()
      yield* Service.begin(Stream.runForEach(Count({ to: 1_000_000 }), () => Effect.sleep("10 millis")))
      yield* Service.pass(1)
      yield* Service.kill(name)
      yield* Service.pass(3)
      assert.deepStrictEqual(yield* Service.lines, ["server released Count"])
    })))

  it.effect("costs other clients nothing", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const one = yield* Service.client({ name: "one" })
      const other = yield* Service.client({ name: "other" })
      yield* Service.begin(one.Never({ id: "one" }))
      const call = yield* Service.begin(other.Wait({ id: "other", millis: 6000 }))
      yield* Service.kill(one.name)
      yield* Service.pass(7)
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.succeed("server"))
    })))

  it.effect("frees the handlers of a client that ends in order", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Never, close } = yield* Service.client()
      const call = yield* Service.begin(Never({ id: "call" }))
      yield* close
      yield* Service.settle
      assert.isTrue(Exit.hasInterrupts(yield* Service.exitOf(call)))
      assert.deepStrictEqual(yield* Service.lines, ["server began call", "server interrupted call"])
    })))
})

describe("an interrupt", () => {
  it.effect("before the first answer reaches the one server that has the call", () =>
    Service.run(Effect.gen(function*() {
      yield* Effect.forEach(["a", "b", "c"], (name) => Service.server({ name }))
      const { Add, Never } = yield* Service.client()
      const calls = yield* Effect.forEach(["1", "2", "3"], (id) => Service.begin(Never({ id })))
      yield* Fiber.interrupt(calls[1]!)
      yield* Service.settle
      assert.lengthOf((yield* Service.lines).filter((line) => line.includes("interrupted")), 1)
      assert.lengthOf((yield* Service.lines).filter((line) => line.endsWith("interrupted 2")), 1)
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("that overtakes its request leaves nothing to be begun", () =>
    Service.run(Effect.gen(function*() {
      const { Never, Wait } = yield* Service.client({ service: Service.patientCalc })
      yield* Service.server({ service: Service.patientCalc, concurrency: 1 })
      const busy = yield* Service.begin(Wait({ id: "busy", millis: 2000 }))
      const call = yield* Service.begin(Never({ id: "behind" }))
      yield* Fiber.interrupt(call)
      yield* Service.pass(3)
      assert.deepStrictEqual(yield* Service.exitOf(busy), Exit.succeed("server"))
      assert.deepStrictEqual(yield* Service.lines, ["server began busy", "server ended busy"])
    })))

  it.effect("frees the handler of a stream before its first part", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server()
      const { Count } = yield* Service.client()
      yield* broker.setLatency("1 second")
      const call = yield* Service.begin(Stream.runDrain(Count({ to: 1_000_000 })))
      yield* Service.pass(2)
      const interrupting = yield* Service.begin(Fiber.interrupt(call))
      yield* Service.pass(5)
      assert.isDefined(interrupting.pollUnsafe())
      assert.deepStrictEqual(yield* Service.lines, ["server released Count"])
    })))
})

describe("the deadline of a call", () => {
  it.effect("ends a call whose handler takes too long, and the handler", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Wait } = yield* Service.client({ deadline: "2 seconds" })
      const call = yield* Service.begin(Effect.flip(Wait({ id: "slow", millis: 60_000 })))
      yield* Service.pass(3)
      const error = yield* Fiber.join(call)
      assert.isTrue(AmqpRpc.isOutcomeUnknown(error))
      assert.isFalse(AmqpRpc.isNoServer(error))
      assert.strictEqual(error.message, `RpcClientDefect: "calc" gave no answer within 2000 ms`)
      assert.deepStrictEqual(yield* Service.lines, ["server began slow", "server interrupted slow"])
    })))

  it.effect("does not end a stream that has begun", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Count } = yield* Service.client({ deadline: "2 seconds" })
      const call = yield* Service.begin(
        Stream.runForEach(Count({ to: 1000 }), (n) => n % 100 === 0 ? Effect.sleep("1 second") : Effect.void)
      )
      yield* Service.pass(11)
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.void)
    })))

  it.effect("ends a call that was made without a connection: it was not sent", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server()
      const { Add, name } = yield* Service.client({ deadline: "2 seconds" })
      yield* Service.kill(name)
      const call = yield* Service.begin(Add({ a: 1, b: 2 }))
      yield* Service.pass(3)
      assert.deepInclude(Service.failureOf(yield* Service.exitOf(call)), { _tag: "DeadlineExceeded", wasSent: false })
      yield* broker.setEndpoint({ host: "client.example", port: 5672 }, "answers")
      yield* Service.pass(10)
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("ends a call to a broker that answers nothing any more", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server()
      const { Add } = yield* Service.client({ deadline: "10 seconds" })
      yield* broker.stopAnswering()
      const call = yield* Service.begin(Add({ a: 1, b: 2 }))
      yield* Service.pass(11)
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(call))?._tag, "DeadlineExceeded")
      yield* broker.resumeAnswering
    })))

  it.effect("may be infinite", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Wait } = yield* Service.client({ deadline: "Infinity" })
      const call = yield* Service.begin(Wait({ id: "long", millis: 600_000 }))
      yield* Service.pass(601)
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.succeed("server"))
    })))
})

describe("a lost connection", () => {
  it.effect("fails a call that was sent: its answer has no way back", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server()
      const { Wait, name } = yield* Service.client()
      const call = yield* Service.begin(Effect.flip(Wait({ id: "call", millis: 1000 })))
      yield* broker.cutConnection(name)
      yield* Service.settle
      const error = yield* Fiber.join(call)
      assert.isTrue(AmqpRpc.isOutcomeUnknown(error))
      yield* Service.pass(3)
      assert.lengthOf((yield* Service.lines).filter((line) => line.includes("began")), 1)
    })))

  it.effect("delays a call that was not sent until the next one", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Add, name } = yield* Service.client({ deadline: "1 minute" })
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.kill(name)
      const calls = yield* Effect.forEach([1, 2, 3], (a) => Service.begin(Add({ a, b: 1 })))
      yield* Service.pass(5)
      yield* broker.setEndpoint({ host: "client.example", port: 5672 }, "answers")
      yield* Service.pass(10)
      assert.deepStrictEqual(yield* Effect.forEach(calls, Service.exitOf), [2, 3, 4].map((n) => Exit.succeed(n)))
    })))

  it.effect("of the server costs a call that runs nothing", () =>
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      const { name } = yield* Service.server()
      const { Wait } = yield* Service.client({ service: Service.calc })
      const call = yield* Service.begin(Wait({ id: "call", millis: 3000 }))
      yield* Service.pass(1)
      yield* broker.cutConnection(name)
      yield* Service.pass(12)
      assert.deepStrictEqual(yield* Service.exitOf(call), Exit.succeed("server"))
    })))
})

describe("a message that is wrong", () => {
  it.effect("fails a call whose request is too large, and no other", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Add, Echo } = yield* Service.client()
      const failure = Service.failureOf(yield* Effect.exit(Echo({ text: "x".repeat(17 * 1024 * 1024) })))
      assert.deepInclude(failure, { _tag: "TooLarge", part: "request" })
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("fails a call whose answer is too large, and no other", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { Add, Large } = yield* Service.client()
      const failure = Service.failureOf(yield* Effect.exit(Large({ bytes: 17 * 1024 * 1024 })))
      assert.deepInclude(failure, { _tag: "TooLarge", part: "answer" })
      assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
    })))

  it.effect("fails a call in another serialization than the server's, and says which", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server({ serialization: RpcSerialization.layerNdjson })
      const { Add } = yield* Service.client()
      const failure = Service.failureOf(yield* Effect.exit(Add({ a: 1, b: 2 })))
      assert.strictEqual(
        failure?.message,
        `a server of "calc" cannot read the call: it is "application/json", and "application/x-ndjson" is expected`
      )
    })))

  it.effect("costs the server nothing if it is no call at all", () =>
    Service.run(
      Effect.gen(function*() {
        yield* Service.server()
        const { Add } = yield* Service.client()
        const publisher = yield* AmqpPublisher.make()
        for (const body of ["", "{", `{"_tag":"Request"}`, `[]`, `null`, `{"_tag":"Nonsense"}`]) {
          for (const contentType of ["application/json", "text/plain"]) {
            yield* publisher.publish({ routingKey: "calc", body, contentType })
            yield* publisher.publish({ routingKey: "calc", body, contentType, replyTo: "nobody", correlationId: "1" })
            yield* publisher.publish({ exchange: "calc.control", routingKey: "", body, contentType, replyTo: "nobody" })
          }
        }
        yield* Service.pass(3)
        assert.strictEqual(yield* Add({ a: 1, b: 2 }), 3)
        const channel = yield* AmqpChannel.make()
        assert.isTrue(Option.isNone(yield* channel.get("calc")))
      }).pipe(Effect.provide(AmqpConnection.layer()))
    ))
})

describe("the options", () => {
  const refused = (layer: ReturnType<typeof Service.client>) =>
    Effect.map(Effect.flip(layer), (error) => error.reason.message)

  it.effect("are refused if they cannot work", () =>
    Service.run(Effect.gen(function*() {
      assert.include(yield* refused(Service.client({ deadline: 0 })), "deadline")
      assert.include(yield* refused(Service.client({ livenessInterval: "Infinity" })), "livenessInterval")
      const stays = AmqpRpc.service("calc", { queue: AmqpTopology.queue("calc") })
      assert.include(yield* refused(Service.client({ service: stays })), "autoDelete: true")
      const goes = AmqpRpc.service("calc", {
        whenNoServer: "wait",
        queue: AmqpTopology.queue("calc", { autoDelete: true })
      })
      assert.include(yield* refused(Service.client({ service: goes })), "autoDelete")
      assert.include((yield* Effect.flip(Service.server({ concurrency: 0 }))).reason.message, "concurrency")
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
    Service.run(Effect.gen(function*() {
      const broker = yield* AmqpMemory.AmqpMemory
      yield* Service.server()
      const { name, protocol } = yield* Service.client({ connection: { retry: { interval: "3 seconds", max: 10 } } })
      yield* broker.cutConnection(name)
      yield* Service.settle
      const sending = yield* Service.begin(protocol.send(0, notification("told")))
      assert.isUndefined(sending.pollUnsafe())
      assert.deepStrictEqual(yield* Service.lines, [])
      yield* Service.pass(5)
      assert.isTrue(Exit.isSuccess(yield* Service.exitOf(sending)))
      assert.deepStrictEqual(yield* Service.lines, ["server began told", "server ended told"])
    })))

  it.effect("fails at its deadline if no connection comes", () =>
    Service.run(Effect.gen(function*() {
      yield* Service.server()
      const { name, protocol } = yield* Service.client({ deadline: "5 seconds" })
      yield* Service.kill(name)
      const sending = yield* Service.begin(protocol.send(0, notification("never")))
      yield* Service.pass(6)
      assert.deepInclude(Service.failureOf(yield* Service.exitOf(sending)), {
        _tag: "DeadlineExceeded",
        wasSent: false
      })
      assert.deepStrictEqual(yield* Service.lines, [])
    })))

  it.effect("fails when there is no server", () =>
    Service.run(Effect.gen(function*() {
      const { protocol } = yield* Service.client()
      const sending = yield* Service.begin(protocol.send(0, notification("nobody")))
      assert.strictEqual(Service.failureOf(yield* Service.exitOf(sending))?._tag, "NoServer")
    })))
})
