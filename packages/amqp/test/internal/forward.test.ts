import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Schedule } from "effect"
import { AmqpChannel, AmqpConsumer, AmqpMessage, AmqpPublisher } from "effect-amqp"
import { pass, settled } from "effect-amqp-test-rig/VirtualTime"
import { onMemory, sendWith, work } from "../support/Consuming.ts"

const received: AmqpMessage.Received = {
  exchange: "orders",
  routingKey: "order.42",
  body: new Uint8Array([1, 2]),
  properties: {
    contentType: "application/cbor",
    contentEncoding: "gzip",
    deliveryMode: 2,
    priority: 3,
    correlationId: "c",
    replyTo: "r",
    expiration: "60000",
    messageId: "m",
    timestamp: 1_764_119_000,
    type: "t",
    appId: "a",
    headers: {
      tenant: "x",
      CC: ["audit"],
      BCC: ["secret"],
      "x-death": [{ queue: "q", reason: "rejected", count: 2 }],
      "x-first-death-queue": "q",
      "x-last-death-reason": "rejected",
      "x-delivery-count": 4,
      "x-acquired-count": 5,
      "x-retry-attempt": 3,
      "x-retry-queue": "q",
      "x-retry-exchange": "first",
      "x-retry-routing-key": "first.key",
      "x-parked-error": "Failure"
    }
  }
}

describe("AmqpMessage.forward", () => {
  it("keeps body, properties and headers, without the routes", () => {
    const { CC: _cc, BCC: _bcc, ...headers } = received.properties.headers!
    assert.deepStrictEqual(AmqpMessage.forward(received), {
      exchange: "orders",
      routingKey: "order.42",
      body: received.body,
      contentType: "application/cbor",
      contentEncoding: "gzip",
      persistent: true,
      priority: 3,
      correlationId: "c",
      replyTo: "r",
      expiration: 60_000,
      messageId: "m",
      timestamp: new Date(1_764_119_000_000),
      type: "t",
      appId: "a",
      headers
    })
  })

  it("goes to a queue by its name, and to an exchange with the routing key that the message came with", () => {
    assert.deepInclude(AmqpMessage.forward(received, { routingKey: "q" }), { exchange: "", routingKey: "q" })
    assert.deepInclude(AmqpMessage.forward(received, { exchange: "e" }), { exchange: "e", routingKey: "order.42" })
  })

  it("with reset attempts knows where the message was first published to, and nothing of its attempts", () => {
    assert.deepStrictEqual(AmqpMessage.forward(received, { attempts: "reset" }).headers, {
      tenant: "x",
      "x-retry-exchange": "first",
      "x-retry-routing-key": "first.key"
    })
  })

  it("adds, replaces and removes headers and properties", () => {
    const message = AmqpMessage.forward(received, {
      attempts: "reset",
      headers: { tenant: undefined, added: 1 },
      expiration: undefined,
      priority: 9,
      messageId: "n"
    })
    assert.isUndefined(message.headers?.["tenant"])
    assert.deepInclude(message, { expiration: undefined, priority: 9, messageId: "n" })
    assert.strictEqual(message.headers?.["added"], 1)
  })

  it("leaves out a time that no Date can hold", () => {
    for (const timestamp of [-1, 1e15]) {
      const strange = { ...received, properties: { ...received.properties, timestamp } }
      assert.isUndefined(AmqpMessage.forward(strange).timestamp)
    }
  })

  it("keeps a transient message transient", () => {
    assert.isFalse(AmqpMessage.forward({ ...received, properties: {} }).persistent)
  })

  const parkThenForward = (attempts: "keep" | "reset") =>
    onMemory(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      const channel = yield* AmqpChannel.AmqpChannel
      const seen: Array<string> = []
      yield* AmqpConsumer.make(work, (delivery) =>
        Effect.suspend(() => {
          seen.push(`${delivery.attempts} ${delivery.routingKey}`)
          return Effect.fail("no")
        }), { onFailure: AmqpConsumer.retry(Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 1 }))) })
      yield* sendWith({ messageId: "m", headers: { tenant: "x" } }, "a")
      yield* pass(3000)
      const parked = Option.getOrThrow(yield* channel.get("work.parked"))
      yield* publisher.publish(AmqpMessage.forward(parked, { routingKey: "work", attempts }))
      assert.isTrue(yield* parked.ack())
      yield* pass(3000)
      yield* settled
      return seen
    }))

  it.effect("of a parked message with reset attempts is tried as often as a new one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* parkThenForward("reset"), ["1 work", "2 work", "1 work", "2 work"])
    }))

  it.effect("of a parked message that keeps its attempts is parked again at the next failure", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* parkThenForward("keep"), ["1 work", "2 work", "3 work"])
    }))
})
