import { assert } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { suite } from "./Suite.ts"

const persistent = { deliveryMode: 2 }

export const restarting = suite("what is left after a restart", {
  "what is durable, with its persistent messages, and since 4.3 transient exchanges too": Effect.gen(function*() {
    const broker = yield* Broker
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "durable")
    yield* Client.queue(channel, "quorum", { "x-queue-type": "quorum" })
    yield* Client.queue(channel, "own", {}, { exclusive: true })
    yield* Client.exchange(channel, "kept", "fanout")
    yield* Client.exchange(channel, "transient", "fanout", { durable: false })
    yield* Client.bind(channel, "durable", "kept")
    yield* Client.bind(channel, "durable", "transient")
    yield* Client.publish(channel, { routingKey: "durable", body: "taken", properties: persistent })
    yield* Client.publish(channel, { routingKey: "durable", body: "persistent", properties: persistent })
    yield* Client.publish(channel, { routingKey: "durable", body: "transient", properties: { deliveryMode: 1 } })
    yield* Client.publish(channel, { routingKey: "durable", body: "neither" })
    yield* Client.publish(channel, { routingKey: "quorum", body: "any", properties: { deliveryMode: 1 } })
    yield* Client.take(channel, "durable")

    yield* broker.restart
    assert.deepStrictEqual(yield* Client.ending(connection), {
      reason: "ConnectionLost",
      text: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    })
    const again = yield* Client.connect()
    const after = yield* Client.open(again)
    const other = yield* Client.open(again)
    yield* Client.publish(after, { exchange: "kept", body: "routed" })
    assert.deepStrictEqual(yield* Client.bodies(after, "durable"), ["taken", "persistent", "routed"])
    assert.deepStrictEqual(yield* Client.bodies(after, "quorum"), ["any"])
    assert.strictEqual((yield* Client.failure(other.checkQueue("own"))).reason, "NotFound")
    if (broker.version < 4.03) {
      assert.strictEqual((yield* Client.failure(after.checkExchange("transient"))).reason, "NotFound")
    } else {
      yield* Client.publish(after, { exchange: "transient", body: "routed" })
      assert.deepStrictEqual(yield* Client.bodies(after, "durable"), ["routed"])
    }
  }),
  "a stream, with its messages at their offsets": Effect.gen(function*() {
    const broker = yield* Broker
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "s", { "x-queue-type": "stream" })
    yield* Client.fill(channel, "s", "1", "2", "3")
    yield* broker.restart
    yield* Client.ending(connection)
    // A node that has just started may not have its streams yet; 4.3 closes the connection for that.
    const { after, next } = yield* Effect.gen(function*() {
      const after = yield* Client.open(yield* Client.connect())
      yield* after.prefetch(10)
      const { next } = yield* Client.consume(after, "s", { arguments: { "x-stream-offset": 1 }, ack: true })
      return { after, next }
    }).pipe(Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 100 }))
    yield* Client.fill(after, "s", "4")
    const seen: Array<string> = []
    for (let i = 0; i < 3; i++) {
      const delivery = yield* next
      seen.push(`${Client.text(delivery)} at ${String(delivery.properties.headers?.["x-stream-offset"])}`)
    }
    assert.deepStrictEqual(seen, ["2 at 1", "3 at 2", "4 at 3"])
  })
})
