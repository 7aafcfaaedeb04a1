import { assert } from "@effect/vitest"
import { Effect, Option } from "effect"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { suite } from "./Suite.ts"

const replyTo = "amq.rabbitmq.reply-to"

const withCaller = Effect.gen(function*() {
  const caller = yield* Client.session
  yield* Client.queue(caller, "requests")
  const replies = yield* Client.consume(caller, replyTo, { noAck: true })
  yield* Client.publish(caller, {
    routingKey: "requests",
    body: "ping",
    properties: { replyTo, correlationId: "c" }
  })
  const server = yield* Client.session
  const request = yield* Client.take(server, "requests")
  return { caller, replies, server, address: request.properties.replyTo ?? "" }
})

export const replies = suite("direct reply-to", {
  "a reply goes straight to the channel that asked": Effect.gen(function*() {
    const { address, replies, server } = yield* withCaller
    assert.isTrue(address.startsWith(`${replyTo}.`))
    yield* Client.publish(server, { routingKey: address, body: "pong", properties: { correlationId: "c" } })
    const reply = yield* replies.next
    assert.deepStrictEqual([Client.text(reply), reply.properties.correlationId], ["pong", "c"])
  }),
  "a mandatory reply that was delivered is returned all the same before 4.3": Effect.gen(function*() {
    const { version } = yield* Broker
    const { address, replies, server } = yield* withCaller
    yield* Client.publish(server, {
      routingKey: address,
      body: "pong",
      mandatory: true,
      properties: { messageId: "reply" }
    })
    assert.strictEqual(Client.text(yield* replies.next), "pong")
    assert.deepStrictEqual(server.returns.map((returned) => returned.messageId), version < 4.03 ? ["reply"] : [])
  }),
  "the address can be asked for while the caller is there": Effect.gen(function*() {
    const { address, caller, server } = yield* withCaller
    assert.strictEqual((yield* server.checkQueue(address)).consumerCount, 1)
    yield* caller.close
    yield* Client.settle
    assert.strictEqual((yield* Client.failure(server.checkQueue(address))).reason, "NotFound")
  }),
  "a reply to a caller that is gone is lost quietly": Effect.gen(function*() {
    const { address, caller, server } = yield* withCaller
    yield* caller.close
    yield* Client.settle
    assert.isTrue(yield* Client.publish(server, { routingKey: address, body: "pong" }))
  }),
  "nothing can be got from the reply address": Effect.gen(function*() {
    const channel = yield* Client.session
    assert.deepStrictEqual(yield* Client.failure(channel.get(replyTo, { noAck: true })), {
      reason: "NotFound",
      text: `NOT_FOUND - no queue '${replyTo}' in vhost '/'`
    })
  }),
  "a request that goes through a queue carries no reply itself": Effect.gen(function*() {
    const { caller } = yield* withCaller
    assert.isTrue(Option.isNone(yield* caller.get("requests", { noAck: true })))
  })
})
