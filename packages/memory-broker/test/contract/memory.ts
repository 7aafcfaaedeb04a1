/**
 * The memory broker as the contract tests see it.
 */
import { Effect, Layer } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { CurrentDriver } from "effect-amqp/CurrentDriver"
import { TestClock } from "effect/testing"
import { Broker, versionNumber } from "./Broker.ts"

const make = Effect.fnUntraced(function*(version: AmqpMemory.BrokerVersion) {
  const broker = yield* AmqpMemory.AmqpMemory
  const driver = yield* CurrentDriver
  return Broker.of({
    driver,
    host: "memory",
    port: 5672,
    vhost: "/",
    version: versionNumber(version),
    elapse: TestClock.adjust,
    settle: TestClock.adjust(0),
    addUser: (name, password, permissions) =>
      broker.setUser({
        name,
        password,
        ...(permissions === undefined ? {} : {
          permissions: {
            configure: new RegExp(permissions.configure),
            write: new RegExp(permissions.write),
            read: new RegExp(permissions.read)
          }
        })
      }),
    detour: Effect.succeed({
      host: "detour",
      port: 5672,
      cutOff: broker.setEndpoint({ host: "detour" }, "unreachable")
    }),
    forceClose: broker.forceClose,
    restart: Effect.andThen(broker.shutDown, broker.start),
    shortenAckTimeout: broker.setAckTimeout("5 minutes"),
    ownAckTimeout: 60_000,
    outlastAckTimeout: TestClock.adjust("7 minutes"),
    limitConnectionsOfUser: (_name, user) => broker.limitConnections({ user }),
    limitConnectionsOfVhost: (vhost) => broker.limitConnections({ vhost }),
    limitConnectionsOfNode: (node) => broker.limitConnections({ node }),
    limitChannelsOfConnection: (connection) => broker.limitChannels({ connection }),
    limitChannelsOfUser: (_name, user) => broker.limitChannels({ user }),
    limitChannelsOfNode: (node) => broker.limitChannels({ node }),
    stopVhost: broker.stopVhost("/"),
    startVhost: broker.startVhost("/"),
    raiseMemoryAlarm: broker.block(),
    clearMemoryAlarm: broker.unblock
  })
})

export const layer = (version: AmqpMemory.BrokerVersion): Layer.Layer<AmqpMemory.AmqpMemory | Broker> =>
  Layer.provideMerge(Layer.effect(Broker, make(version)), AmqpMemory.layerWith({ version }))
