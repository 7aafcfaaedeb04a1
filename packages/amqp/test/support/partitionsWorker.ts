/**
 * An instance of a group as a process of its own: `partitionsWorker.ts <url> <partitions> <count> <instance>`. It writes
 * `ready`, and a line for each message that it has handled.
 */
import { Effect, Layer } from "effect"
import { AmqpConnection, AmqpPartitions } from "effect-amqp"
import { writeSync } from "node:fs"

const [url = "", name = "", count = "", instance = ""] = process.argv.slice(2)

const worker = AmqpPartitions.layer(
  AmqpPartitions.make(name, { count: Number(count) }),
  (delivery, partition) =>
    Effect.andThen(
      Effect.sleep(1),
      Effect.sync(() => {
        const key = AmqpPartitions.keyOf(delivery)
        // At once, so that the line is out when the message is acknowledged, however the process ends.
        writeSync(1, `handled ${process.hrtime.bigint()} ${partition} ${key} ${delivery.messageId}\n`)
      })
    ),
  { instance }
).pipe(Layer.provide(AmqpConnection.layer({ endpoints: url, connectionName: instance })))

const alive = setInterval(() => {}, 60_000)

Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  yield* Layer.build(worker)
  writeSync(1, "ready\n")
  yield* Effect.never
}))).finally(() => clearInterval(alive))
