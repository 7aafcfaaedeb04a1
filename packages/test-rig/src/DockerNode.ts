/**
 * A RabbitMQ node as a Docker container, for machines that have no other RabbitMQ.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import type { BrokerNode } from "./BrokerNode.ts"
import * as FreePort from "./FreePort.ts"
import * as Keeper from "./Keeper.ts"
import * as NodeConfiguration from "./NodeConfiguration.ts"
import * as Patience from "./Patience.ts"
import * as Probe from "./Probe.ts"
import { RabbitMqError, RabbitMqUnavailable } from "./RabbitMqError.ts"
import * as Subprocess from "./Subprocess.ts"

/**
 * Names the image for a version of RabbitMQ. Fails with the reason where no container can run.
 */
export const findImage = (version: string | undefined): Effect.Effect<string, RabbitMqUnavailable> =>
  Subprocess.run({ program: "docker", args: ["version", "--format", "{{.Server.Version}}"] }).pipe(
    Effect.mapError(() => new RabbitMqUnavailable({ message: "no Docker daemon answers" })),
    Effect.as(`rabbitmq:${version ?? "4"}`)
  )

/**
 * Starts a container that vanishes with the scope.
 */
export const make = Effect.fnUntraced(function*(
  image: string,
  configuration: NodeConfiguration.NodeConfiguration
): Effect.fn.Return<BrokerNode, RabbitMqError, Scope.Scope> {
  const keeper = yield* Keeper.make
  const name = `effect-amqp-rig-${randomBytes(4).toString("hex")}`
  const port = yield* FreePort.find
  const tlsPort = configuration.tls === undefined ? undefined : yield* FreePort.find
  const files = yield* Effect.tryPromise({
    try: () => NodeConfiguration.write(keeper.directory, configuration, tlsPort === undefined ? undefined : "5671"),
    catch: (cause) => new RabbitMqError({ message: "The container's configuration could not be written", cause })
  })

  keeper.watchContainer(name)
  yield* docker(
    [
      "create",
      "--name",
      name,
      "--hostname",
      name,
      "--publish",
      `127.0.0.1:${port}:5672`,
      ...(tlsPort === undefined ? [] : ["--publish", `127.0.0.1:${tlsPort}:5671`]),
      // The configuration names certificates by path, so the container sees the same path.
      "--volume",
      `${keeper.directory}:${keeper.directory}:ro`,
      "--volume",
      `${files.basic}:/etc/rabbitmq/conf.d/99-test-rig.conf:ro`,
      "--volume",
      `${files.advanced}:/etc/rabbitmq/advanced.config:ro`,
      "--volume",
      `${files.plugins}:/etc/rabbitmq/enabled_plugins:ro`,
      image
    ],
    "5 minutes"
  )

  const start = docker(["start", name]).pipe(
    Effect.andThen(Effect.repeat(Probe.speaksAmqp("127.0.0.1", port), {
      schedule: Schedule.spaced("50 millis"),
      until: (answered) => answered
    })),
    Effect.timeoutOrElse({
      duration: Patience.limit,
      orElse: () => Effect.fail(new RabbitMqError({ message: `The container of ${image} did not speak AMQP` }))
    }),
    Effect.asVoid
  )
  yield* start

  return {
    port,
    tlsPort,
    address: {
      command: { program: "docker", args: ["exec", "--interactive", name, "rabbitmqctl", "--quiet", "eval"] },
      environment: undefined
    },
    start,
    stop: docker(["stop", "--time", "30", name]),
    kill: docker(["kill", "--signal", "KILL", name]),
    freeze: docker(["pause", name]),
    thaw: docker(["unpause", name])
  }
})

const docker = (
  args: ReadonlyArray<string>,
  timeout: Duration.Input = Patience.limit
): Effect.Effect<void, RabbitMqError> =>
  Subprocess.run({ program: "docker", args }, { timeout }).pipe(
    Effect.mapError((error) => new RabbitMqError({ message: error.message, cause: error })),
    Effect.asVoid
  )
