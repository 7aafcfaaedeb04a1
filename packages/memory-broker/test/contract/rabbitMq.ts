/**
 * A real RabbitMQ as the contract tests see it: a node that all of them share, with a virtual host for each.
 */
import { Duration, Effect, Layer, Redacted, Scope } from "effect"
import * as FaultProxy from "effect-amqp-test-rig/FaultProxy"
import { RabbitMq } from "effect-amqp-test-rig/RabbitMq"
import { driver } from "effect-amqp/AmqplibDriver"
import { Broker, versionNumber } from "./Broker.ts"

let virtualHosts = 0

/** Longer than a real broker needs for what it does by itself, with two of its processes in between. */
const settling = Duration.millis(60)

const maxConnections = (limit: number) => `#{<<"max-connections">> => ${limit}}`

const maxChannels = (limit: number) => `#{<<"max-channels">> => ${limit}}`

const make = Effect.gen(function*() {
  const node = yield* RabbitMq
  const scope = yield* Effect.scope
  const vhost = yield* Effect.acquireRelease(
    Effect.tap(Effect.sync(() => `contract-${virtualHosts++}`), (name) => Effect.orDie(node.addVhost(name))),
    (name) => Effect.ignore(node.deleteVhost(name))
  )
  const erlang = (expression: string) => Effect.asVoid(Effect.orDie(node.evalErlang(expression)))
  /** Changes a setting of the node until the test ends. */
  const setting = (name: string, value: number, byDefault: string) =>
    Effect.andThen(
      Scope.addFinalizer(scope, Effect.ignore(node.evalErlang(`application:set_env(rabbit, ${name}, ${byDefault})`))),
      erlang(`application:set_env(rabbit, ${name}, ${value})`)
    )
  return Broker.of({
    driver,
    host: node.host,
    port: node.port,
    vhost,
    version: versionNumber(node.version),
    elapse: (duration) => Effect.sleep(duration),
    settle: Effect.sleep(settling),
    addUser: Effect.fnUntraced(
      function*(name, password, permissions) {
        yield* node.addUser(name, Redacted.value(password))
        yield* Scope.addFinalizer(scope, Effect.ignore(node.deleteUser(name)))
        if (permissions !== undefined) yield* node.setPermissions(name, vhost, permissions)
      },
      Effect.orDie
    ),
    detour: Effect.map(FaultProxy.make({ host: node.host, port: node.port }), ({ host, port, setMode }) => ({
      host,
      port,
      cutOff: setMode("blackhole")
    })),
    forceClose: (text) => Effect.orDie(node.closeAllConnections(text)),
    restart: Effect.orDie(Effect.andThen(node.stop, node.start)),
    shortenAckTimeout: Effect.andThen(
      Effect.orDie(node.setLimits({ consumerTimeout: "1 second", channelTickInterval: "200 millis" })),
      Scope.addFinalizer(
        scope,
        Effect.ignore(node.setLimits({ consumerTimeout: "30 minutes", channelTickInterval: "1 minute" }))
      )
    ),
    ownAckTimeout: 100,
    outlastAckTimeout: Effect.sleep("2 seconds"),
    limitConnectionsOfUser: (name, limit) =>
      erlang(`rabbit_auth_backend_internal:set_user_limits(<<"${name}">>, ${maxConnections(limit)}, <<"test">>)`),
    limitConnectionsOfVhost: (limit) =>
      erlang(`rabbit_vhost_limit:set(<<"${vhost}">>, ${maxConnections(limit)}, <<"test">>)`),
    limitConnectionsOfNode: (limit) => setting("connection_max", limit, "infinity"),
    limitChannelsOfConnection: (limit) => setting("channel_max", limit, "2047"),
    limitChannelsOfUser: (name, limit) =>
      erlang(`rabbit_auth_backend_internal:set_user_limits(<<"${name}">>, ${maxChannels(limit)}, <<"test">>)`),
    limitChannelsOfNode: (limit) => setting("channel_max_per_node", limit, "infinity"),
    stopVhost: erlang(`rabbit_vhost_sup_sup:delete_on_all_nodes(<<"${vhost}">>)`),
    startVhost: erlang(`rabbit_vhost_sup_sup:start_vhost(<<"${vhost}">>)`),
    // The node tells its connections after it has answered: a message written in between would not be blocked.
    raiseMemoryAlarm: Effect.orDie(Effect.andThen(node.setMemoryAlarm, Effect.sleep("200 millis"))),
    clearMemoryAlarm: Effect.orDie(node.clearMemoryAlarm)
  })
})

export const layer: Layer.Layer<Broker, never, RabbitMq> = Layer.effect(Broker, make)
