import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, Layer, Scope } from "effect"
import type { AmqpMessage, PublishError } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { TestClock } from "effect/testing"
import { between } from "../support/Between.ts"
import { begin, paid, publish } from "../support/Publishing.ts"
import * as Virtual from "../support/Virtual.ts"

describe("the outcomes of an AmqpPublisher", () => {
  // What happens to the broker, one after the other; the letters are drawn by number.
  const levers = [
    "publish",
    "publish",
    "publish unroutable",
    "publish to nowhere",
    "withhold",
    "release",
    "nack",
    "lose",
    "cut",
    "refuse",
    "block",
    "unblock",
    "wait",
    "interrupt"
  ] as const

  it.effect.prop(
    "whatever the broker does, every publish has one outcome within its deadline, and it is a true one",
    {
      script: Arbitrary.array(between(0, levers.length - 1), { minLength: 1, maxLength: 30 }),
      republish: between(0, 1)
    },
    ({ republish, script }) =>
      Effect.gen(function*() {
        const broker = yield* AmqpMemory.AmqpMemory
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(
          Virtual.application({
            connection: { retry: { interval: "200 millis", max: 1000 } },
            publisher: { maxInFlight: 4, unconfirmed: republish === 1 ? "republish" : "fail" }
          }),
          scope
        )
        const running: Array<{
          readonly id: string
          readonly kind: string
          readonly fiber: Fiber.Fiber<void, PublishError.PublishError>
          interrupted: boolean
        }> = []
        for (const [index, number] of script.entries()) {
          const lever = levers[number]!
          const id = `m${index}`
          const start = (message: AmqpMessage.Message) =>
            Effect.map(begin(Effect.provide(publish({ ...message, messageId: id }), context)), (fiber) => {
              running.push({ id, kind: lever, fiber, interrupted: false })
            })
          switch (lever) {
            case "publish":
              yield* start(paid(id))
              break
            case "publish unroutable":
              yield* start(paid(id, { routingKey: "nobody" }))
              break
            case "publish to nowhere":
              yield* start({ exchange: "missing", routingKey: "x", body: id })
              break
            case "withhold":
              yield* broker.withholdConfirms
              break
            case "release":
              yield* broker.releaseConfirms
              break
            case "nack":
              yield* broker.nackConfirms(1)
              break
            case "lose":
              yield* broker.loseConfirms(1)
              break
            case "cut":
              yield* broker.cutConnections
              break
            case "refuse":
              yield* broker.refuseConnects(2)
              break
            case "block":
              yield* broker.block()
              break
            case "unblock":
              yield* broker.unblock
              break
            case "wait":
              yield* TestClock.adjust("700 millis")
              break
            case "interrupt": {
              const last = running[running.length - 1]
              if (last !== undefined) {
                last.interrupted = true
                yield* Fiber.interrupt(last.fiber)
              }
              break
            }
          }
        }
        yield* TestClock.adjust("5 seconds")
        const routed = new Set(
          (yield* broker.published).filter((record) => record.queues.length > 0)
            .map((record) => record.messageId)
        )
        const reached = new Set((yield* broker.published).map((record) => record.messageId))
        for (const { fiber, id, interrupted, kind } of running) {
          const exit = fiber.pollUnsafe()
          assert.isDefined(exit, `${id} (${kind}) has no outcome at its deadline`)
          if (Exit.isSuccess(exit!)) {
            assert.strictEqual(kind, "publish", `${id} (${kind}) was confirmed`)
            assert.isTrue(routed.has(id), `${id} was confirmed, and no queue got it`)
          } else {
            const error = Exit.findErrorOption(exit!)
            if (error._tag === "None") {
              assert.isTrue(interrupted, `${id} (${kind}) ended without an error and was not interrupted`)
            } else if (error.value.published === "no") {
              assert.isFalse(routed.has(id), `${id} (${kind}) is said not to be published, and a queue got it`)
            } else {
              assert.isTrue(
                reached.has(id) || kind !== "publish" || error.value.reason._tag !== "Nacked",
                `${id} (${kind}) is said to be refused by the broker, which never saw it`
              )
            }
          }
        }
        yield* broker.unblock
        yield* broker.releaseConfirms
        const closing = yield* begin(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("1 minute")
        assert.isDefined(closing.pollUnsafe(), "the scope does not close")
        assert.deepStrictEqual(yield* broker.leftovers, [])
      }).pipe(Effect.provide(AmqpMemory.layer, { local: true })),
    { arbitrary: { runs: 300 } }
  )
})
