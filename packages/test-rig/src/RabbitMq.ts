/**
 * A throw-away RabbitMQ node: real, on free loopback ports, gone with its scope.
 *
 * It can be killed, frozen, restarted and looked into, so it is what tests of faults use. Tests that only need a broker
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
 * What a node offers to a test.
 */
export interface Service extends BrokerLevers.BrokerLevers, BrokerNode {
  /** `amqp://guest:guest@127.0.0.1:<port>`; the same before and after a restart. */
  readonly url: string
  readonly host: string
  /** The node's version, such as `3.10.8`. */
  readonly version: string
}

/**
 * What kind of node is wanted.
 */
export interface Options extends NodeConfiguration {
  /** Such as `4.0`; by default what `AMQP_TESTS_RABBITMQ_VERSION` says, or else whatever is at hand. */
  readonly version?: string | undefined
}

/**
 * The throw-away node that a test has.
 */
export class RabbitMq extends Context.Service<RabbitMq, Service>()("effect-amqp-test-rig/RabbitMq") {}

/**
 * Starts a node. It ends with the scope, and with the test process however that dies.
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
 * Tells whether `make` could find a RabbitMQ to start; the failure says why not. What has to be fetched first is fetched.
 */
export const availability = (version?: string): Effect.Effect<Result.Result<void, RabbitMqUnavailable>> =>
  Effect.result(Effect.asVoid(findOrigin(version)))

/**
 * The version that the whole test run is to use, where one was chosen.
 */
export const defaultVersion = (): string | undefined => process.env["AMQP_TESTS_RABBITMQ_VERSION"]

/**
 * Puts the levers onto a node that is running.
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
