/**
 * How fast the memory broker is: confirmed messages a second through the port, and routing by topic.
 */
import { Console, Effect, Redacted } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import type { DriverChannel } from "effect-amqp/AmqpDriver"
import { CurrentDriver } from "effect-amqp/CurrentDriver"

const body = new Uint8Array(256)
const inFlight = 100

/** Publish messages with a window of confirms, and return how many were confirmed in a second. */
const measure = Effect.fnUntraced(function*(
  bindings: number,
  count: number,
  prepare: (channel: DriverChannel) => Effect.Effect<unknown, unknown>,
  routingKey: (i: number) => string
) {
  const driver = yield* CurrentDriver
  let settled = 0
  let wake = () => {}
  const connection = yield* driver.connect({
    host: "memory",
    port: 5672,
    tls: undefined,
    vhost: "/",
    username: "guest",
    password: Redacted.make("guest"),
    heartbeat: 0,
    connectionName: "benchmark"
  }, { onBlocked() {}, onUnblocked() {}, onClose() {} })
  const channel = yield* connection.openChannel({ confirm: true }, {
    onConfirm(deliveryTag) {
      settled = deliveryTag
      wake()
    },
    onReturn() {},
    onDrain() {},
    onClose() {}
  })
  yield* prepare(channel)
  let sent = 0
  const publishUpTo = (last: number) =>
    Effect.callback<void>((resume) => {
      wake = () => {
        while (sent < last && sent - settled < inFlight) {
          channel.publishUnsafe({
            exchange: "x",
            routingKey: routingKey(sent),
            mandatory: true,
            properties: { deliveryMode: 2, messageId: "id" },
            body
          })
          sent++
        }
        if (settled === last) resume(Effect.void)
      }
      wake()
    })
  yield* publishUpTo(count / 10)
  const start = performance.now()
  yield* publishUpTo(count / 10 + count)
  const rate = Math.round(count / ((performance.now() - start) / 1000))
  yield* Console.log(
    `${String(bindings).padStart(6)} bindings: ${rate.toLocaleString("en")} confirmed messages a second`
  )
  yield* connection.close
}, Effect.provide(AmqpMemory.layer))

const declare = Effect.fnUntraced(function*(channel: DriverChannel, type: string) {
  yield* channel.declareExchange({
    exchange: "x",
    type,
    durable: true,
    autoDelete: false,
    internal: false,
    arguments: {}
  })
  yield* channel.declareQueue({
    queue: "q",
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: { "x-max-length": 1000 }
  })
})

const direct = measure(1, 500_000, (channel) =>
  Effect.andThen(
    declare(channel, "direct"),
    channel.bindQueue({ queue: "q", exchange: "x", routingKey: "key", arguments: {} })
  ), () => "key")

/** A topic exchange with patterns of which one matches each message. */
const topic = (bindings: number) =>
  measure(bindings, 200_000, (channel) =>
    Effect.andThen(
      declare(channel, "topic"),
      Effect.forEach(
        Array.from({ length: bindings }, (_, i) => i),
        (i) => channel.bindQueue({ queue: "q", exchange: "x", routingKey: `order.${i}.*.paid`, arguments: {} }),
        { discard: true }
      )
    ), (i) => `order.${i % bindings}.eu.paid`)

const program = Effect.gen(function*() {
  yield* Console.log("direct exchange")
  yield* direct
  yield* Console.log("topic exchange")
  for (const bindings of [10, 1000, 10_000]) yield* topic(bindings)
})

await Effect.runPromise(program)
