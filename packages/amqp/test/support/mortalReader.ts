/**
 * A program that reads the stream `log` in the group `mortal`, with its offsets in RabbitMQ, and writes the offset of each
 * message that it has handled: a test kills it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Logger } from "effect"
import { AmqpConnection, AmqpStream } from "effect-amqp"
import { writeSync } from "node:fs"

AmqpStream.layer(
  "log",
  (delivery) =>
    Effect.andThen(
      Effect.sleep("1 millis"),
      Effect.sync(() => void writeSync(1, `${AmqpStream.offsetOf(delivery)}\n`))
    ),
  { group: "mortal", from: "next", saveInterval: "100 millis" }
).pipe(
  Layer.provide(AmqpStream.storeInQueue),
  Layer.provide(AmqpConnection.layerConfig({ retry: { interval: "200 millis", max: 10_000 } })),
  Layer.provide(Logger.layer([])),
  AmqpConnection.launch,
  NodeRuntime.runMain
)
