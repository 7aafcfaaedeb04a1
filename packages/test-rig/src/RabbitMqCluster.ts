/**
 * Several throw-away nodes that form one cluster. A minority that loses the others pauses, as a careful operator
 * configures it.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as ErlangNode from "./ErlangNode.ts"
import * as ErlangShell from "./ErlangShell.ts"
import type { NodeConfiguration } from "./NodeConfiguration.ts"
import * as Patience from "./Patience.ts"
import * as RabbitMq from "./RabbitMq.ts"
import type { RabbitMqUnavailable } from "./RabbitMqError.ts"
import { RabbitMqError } from "./RabbitMqError.ts"
import * as RabbitMqInstallation from "./RabbitMqInstallation.ts"

/**
 * A cluster and its members.
 */
export interface Service {
  readonly nodes: ReadonlyArray<Member>
  /** The URLs of all nodes, in their order. */
  readonly urls: ReadonlyArray<string>
  /** The member that leads a quorum queue at this moment. */
  readonly leaderOf: (queue: string, vhost?: string) => Effect.Effect<Member, RabbitMqError>
}

/**
 * One node of a cluster, with its name in Erlang.
 */
export interface Member extends RabbitMq.Service {
  readonly name: string
}

/**
 * The wanted kind of cluster.
 */
export interface Options extends NodeConfiguration {
  readonly version?: string | undefined
  /** The number of nodes. Defaults to 3. */
  readonly size?: number | undefined
}

/**
 * The throw-away cluster that a test has.
 */
export class RabbitMqCluster extends Context.Service<RabbitMqCluster, Service>()(
  "effect-amqp-test-rig/RabbitMqCluster"
) {}

/**
 * Starts a cluster that ends with the scope. Docker containers cannot be its nodes.
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<Service, RabbitMqError | RabbitMqUnavailable, Scope.Scope> {
  const installation = yield* RabbitMqInstallation.find(options.version ?? RabbitMq.defaultVersion())
  const cookie = yield* ErlangNode.uniqueCookie
  const portMapperPort = yield* ErlangNode.makePortMapper(installation)
  const names = yield* Effect.all(Array.from({ length: options.size ?? 3 }, () => ErlangNode.uniqueName))
  const configuration: NodeConfiguration = {
    ...options,
    settings: {
      cluster_partition_handling: "pause_minority",
      net_ticktime: 10,
      "cluster_formation.peer_discovery_backend": "classic_config",
      ...Object.fromEntries(names.map((name, index) => [`cluster_formation.classic_config.nodes.${index + 1}`, name])),
      ...options.settings
    }
  }

  const nodes = yield* Effect.forEach(
    names,
    (name) =>
      ErlangNode.make({ installation, configuration, membership: { name, cookie, portMapperPort } }).pipe(
        Effect.flatMap(RabbitMq.fromNode),
        Effect.map((node): Member => ({ ...node, name }))
      ),
    { concurrency: "unbounded" }
  )

  yield* Effect.forEach(nodes, (node) => awaitMembers(node, names.length), { concurrency: "unbounded" })

  return {
    nodes,
    urls: nodes.map((node) => node.url),
    leaderOf: (queue, vhost = "/") =>
      Effect.firstSuccessOf(nodes.map((node) => leaderName(node, queue, vhost))).pipe(
        Effect.flatMap((name) => {
          const leader = nodes.find((node) => node.name === name)
          return leader === undefined
            ? Effect.fail(new RabbitMqError({ message: `${queue} is led by ${name}, which is no member` }))
            : Effect.succeed(leader)
        })
      )
  }
})

/**
 * Provides a cluster for as long as the layer lives.
 */
export const layer = (options?: Options): Layer.Layer<RabbitMqCluster, RabbitMqError | RabbitMqUnavailable> =>
  Layer.effect(RabbitMqCluster, make(options))

const leaderName = (node: Member, queue: string, vhost: string): Effect.Effect<string, RabbitMqError> =>
  node.evalErlang(`{ok, Queue} = rabbit_amqqueue:lookup(
      rabbit_misc:r(${ErlangShell.binary(vhost)}, queue, ${ErlangShell.binary(queue)})),
    {ok, _, Leader} = ra:members({element(1, amqqueue:get_pid(Queue)), node()}),
    element(2, Leader)`).pipe(
    Effect.map((name) => name.replaceAll("'", ""))
  )

const awaitMembers = (node: Member, size: number): Effect.Effect<void, RabbitMqError> =>
  node.evalErlang(countRunning).pipe(
    Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: (running) => running === `${size}` }),
    Effect.timeoutOrElse({
      duration: Patience.limit,
      orElse: () => Effect.fail(new RabbitMqError({ message: `${node.name} does not see ${size} running nodes` }))
    }),
    Effect.asVoid
  )

// The function had another name before 3.11.
const countRunning = `length(case erlang:function_exported(rabbit_nodes, list_running, 0) of
    true -> rabbit_nodes:list_running();
    false -> rabbit_nodes:all_running()
  end)`
