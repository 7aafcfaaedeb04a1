/**
 * A throw-away RabbitMQ node: real, on free loopback ports, gone with its scope.
 *
 * Tests of faults use such a node: it can be killed, frozen, restarted and looked into. Tests that only need a broker
 * to talk to share one node, see `SharedRabbitMq`.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as BrokerLevers from "./BrokerLevers.ts"
import type { BrokerNode } from "./BrokerNode.ts"
import * as DockerNode from "./DockerNode.ts"
import * as ErlangNode from "./ErlangNode.ts"
import type { NodeConfiguration } from "./NodeConfiguration.ts"
import type { RabbitMqError } from "./RabbitMqError.ts"
import { RabbitMqUnavailable } from "./RabbitMqError.ts"
import * as RabbitMqInstallation from "./RabbitMqInstallation.ts"

/**
 * A node and its levers.
 */
export interface Service extends BrokerLevers.BrokerLevers, BrokerNode {
  /** `amqp://guest:guest@127.0.0.1:<port>`; the same before and after a restart. */
  readonly url: string
  readonly host: string
  /** The node's version, such as `3.10.8`. */
  readonly version: string
}

/**
 * The wanted kind of node.
 */
export interface Options extends NodeConfiguration {
  /** The version, such as `4.0`. Defaults to `AMQP_TESTS_RABBITMQ_VERSION`, or else to any version at hand. */
  readonly version?: string | undefined
}

/**
 * The throw-away node that a test has.
 */
export class RabbitMq extends Context.Service<RabbitMq, Service>()("effect-amqp-test-rig/RabbitMq") {}

/**
 * Starts a node that ends with the scope, and with any death of the test process.
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<Service, RabbitMqError | RabbitMqUnavailable, Scope.Scope> {
  const start = yield* findOrigin(options.version)
  return yield* fromNode(yield* start(options))
})

/**
 * Provides a node for as long as the layer lives.
 */
export const layer = (options?: Options): Layer.Layer<RabbitMq, RabbitMqError | RabbitMqUnavailable> =>
  Layer.effect(RabbitMq, make(options))

/**
 * Finds the RabbitMQ that `make` would start, and fetches it where needed. The failure says why there is none.
 */
export const availability = (version?: string): Effect.Effect<Result.Result<void, RabbitMqUnavailable>> =>
  Effect.result(Effect.asVoid(findOrigin(version)))

/**
 * The version of the whole test run, if one was chosen.
 */
export const defaultVersion = (): string | undefined => process.env["AMQP_TESTS_RABBITMQ_VERSION"]

/**
 * Adds the levers to a running node.
 */
export const fromNode = Effect.fnUntraced(function*(node: BrokerNode): Effect.fn.Return<Service, RabbitMqError> {
  const levers = BrokerLevers.make(node.address)
  const version = yield* levers.evalErlang("rabbit_misc:version()")
  return {
    ...node,
    ...levers,
    url: `amqp://guest:guest@127.0.0.1:${node.port}`,
    host: "127.0.0.1",
    version: version.replaceAll("\"", "")
  }
})

type Start = (configuration: NodeConfiguration) => Effect.Effect<BrokerNode, RabbitMqError, Scope.Scope>

const findOrigin = Effect.fnUntraced(function*(
  askedFor: string | undefined
): Effect.fn.Return<Start, RabbitMqUnavailable> {
  const version = askedFor ?? defaultVersion()
  const installation = yield* Effect.result(RabbitMqInstallation.find(version))
  if (Result.isSuccess(installation)) {
    return (configuration) => ErlangNode.make({ installation: installation.success, configuration })
  }
  const image = yield* Effect.result(DockerNode.findImage(version))
  if (Result.isSuccess(image)) {
    return (configuration) => DockerNode.make(image.success, configuration)
  }
  return yield* new RabbitMqUnavailable({
    message: `No RabbitMQ${
      version === undefined ? "" : ` ${version}`
    } can be started here: ${installation.failure.message}; ${image.failure.message}.`
  })
})
