/**
 * Measures the memory broker on one core, through the driver port, with a publisher as lean as the one over raw
 * amqplib: confirmed messages a second, and the cost of routing by topic with few and with many bindings.
 */
import { AmqpMemory } from "effect-amqp-memory"
import type { DriverChannel, WireMessage } from "effect-amqp/AmqpDriver"
import { noChannelEvents } from "effect-amqp/AmqpDriver"
import type { AmqpError } from "effect-amqp/AmqpError"
import { CurrentDriver } from "effect-amqp/CurrentDriver"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Measured, Sample } from "../measure/Measured.ts"
import { measured, take } from "../measure/Measured.ts"
import * as Progress from "../measure/Progress.ts"

/** One measurement of the memory broker. */
export interface Result extends Measured {
  readonly name: string
}

const messages = 50_000
const rounds = 7
const warmUps = 2
const inFlight = 1000
const bodyBytes = 256
const queues = 10

/** How many bindings the topic exchange has. */
const bindingCounts = [10, 1000, 10_000]

const body = Buffer.alloc(bodyBytes, "effect-amqp ")

const message = (exchange: string, routingKey: string): WireMessage => ({
  exchange,
  routingKey,
  mandatory: true,
  properties: { deliveryMode: 2 },
  body
})

/** A confirm channel to a broker of its own, and the confirms that come on it. */
interface Client {
  readonly channel: DriverChannel
  /** Called with how many messages were newly confirmed. */
  onConfirmed: (count: number) => void
}

const connect: Effect.Effect<Client, AmqpError> = Effect.gen(function*() {
  const driver = yield* CurrentDriver
  const connection = yield* driver.connect({
    host: "memory",
    port: 5672,
    tls: undefined,
    vhost: "/",
    username: "guest",
    password: Redacted.make("guest"),
    heartbeat: 60,
    connectionName: "benchmark"
  }, { onBlocked() {}, onUnblocked() {}, onClose() {} })
  let settledTo = 0
  const client = {
    onConfirmed: (_count: number) => {},
    channel: yield* connection.openChannel({ confirm: true }, {
      ...noChannelEvents,
      onConfirm(tag, multiple) {
        client.onConfirmed(multiple ? tag - settledTo : 1)
        settledTo = tag
      }
    })
  }
  return client
})

/** Publishes so many messages, with a window of them unconfirmed. */
const publish = (client: Client, count: number, next: (index: number) => WireMessage): Promise<void> =>
  new Promise((resolve) => {
    let written = 0
    let confirmed = 0
    const fill = () => {
      while (written < count && written - confirmed < inFlight) client.channel.publishUnsafe(next(written++))
    }
    client.onConfirmed = (newly) => {
      confirmed += newly
      if (confirmed === count) resolve()
      else fill()
    }
    fill()
  })

const purge = (client: Client) =>
  Effect.forEach(
    Array.from({ length: queues }, (_, index) => `queue-${index}`),
    (queue) => client.channel.purgeQueue(queue),
    { discard: true }
  )

const declare = Effect.fnUntraced(function*(client: Client, bindings: number) {
  const { channel } = client
  for (let index = 0; index < queues; index++) {
    yield* channel.declareQueue({
      queue: `queue-${index}`,
      durable: true,
      exclusive: false,
      autoDelete: false,
      arguments: {}
    })
  }
  yield* channel.declareExchange({
    exchange: "topic",
    type: "topic",
    durable: true,
    autoDelete: false,
    internal: false,
    arguments: {}
  })
  for (let index = 0; index < bindings; index++) {
    yield* channel.bindQueue({
      queue: `queue-${index % queues}`,
      exchange: "topic",
      routingKey: pattern(index),
      arguments: {}
    })
  }
})

// Every third binding ends in a wildcard of each kind; a key matches the one binding that has its first word.
const pattern = (index: number): string =>
  index % 3 === 0 ? `order-${index}.*.paid` : index % 3 === 1 ? `order-${index}.#` : `order-${index}.eu.paid`

const measure = Effect.fnUntraced(function*(
  name: string,
  bindings: number,
  next: (index: number) => WireMessage,
  progress: Progress.Progress
): Effect.fn.Return<Result, AmqpError> {
  return yield* Effect.gen(function*() {
    const client = yield* connect
    yield* declare(client, bindings)
    const samples: Array<Sample> = []
    for (let round = -warmUps; round < rounds; round++) {
      const sample = yield* Effect.promise(() => take(messages, () => publish(client, messages, next)))
      if (round >= 0) samples.push(sample)
      yield* purge(client)
      progress.step(name)
    }
    return { name, ...measured(samples, process.resourceUsage().maxRSS * 1024) }
  }).pipe(Effect.provide(AmqpMemory.layer, { local: true }))
})

/** Runs all of it. */
export const run: Effect.Effect<ReadonlyArray<Result>, AmqpError> = Effect.gen(function*() {
  const progress = Progress.make("memory broker", (1 + bindingCounts.length) * (warmUps + rounds))
  const results = [yield* measure("default exchange", 0, () => message("", "queue-0"), progress)]
  for (const bindings of bindingCounts) {
    const keys = Array.from({ length: bindings }, (_, index) => message("topic", `order-${index}.eu.paid`))
    results.push(
      yield* measure(`topic exchange, ${bindings} bindings`, bindings, (index) => keys[index * 7 % bindings]!, progress)
    )
  }
  progress.done()
  return results
})
