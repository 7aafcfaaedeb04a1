/**
 * A worker of the demo as a process of its own: `process.ts <name>`, which writes a line for whatever it tells.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Layer, References } from "effect"
import { AmqpConnection } from "effect-amqp"
import { writeSync } from "node:fs"
import * as Worker from "./Worker.ts"

const name = process.argv[2] ?? "worker"

Worker.layer(name, (told) => {
  // At once, so that a line is out when its message is acknowledged, however the process ends.
  writeSync(1, `${told._tag} ${told.at} ${told.partition} ${told._tag === "Handled" ? told.id : ""}\n`)
}).pipe(
  Layer.provide(AmqpConnection.layerConfig({ connectionName: name })),
  Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error")),
  AmqpConnection.launch,
  NodeRuntime.runMain
)
