/**
 * The faults, as effects on a {@link Network}.
 */
import { ConnectionLost } from "effect-amqp/AmqpError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { everything } from "./accounts.ts"
import type { Connection } from "./channel.ts"
import { defaultChannelLimits, noLimits } from "./faults.ts"
import { noMethod } from "./frames.ts"
import type { Link } from "./link.ts"
import type { Network } from "./network.ts"
import { connectionForced, ReplyFault } from "./replyFault.ts"
import type { Service } from "./service.ts"
import type { VirtualHost } from "./virtualHost.ts"

const millis = (duration: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(duration))

const reset = () => new ConnectionLost({ replyCode: undefined, replyText: "read ECONNRESET" })

type Levers = Omit<
  Service,
  "depth" | "queue" | "counts" | "leftovers" | "published" | "operations"
>

export const makeLevers = (network: Network<Link>): Levers => {
  const { broker } = network
  const { faults } = broker

  const cut = (wanted: (connectionName: string) => boolean) => {
    for (const link of Array.from(network.links)) if (wanted(link.options.connectionName)) link.sever(reset())
  }
  const forceClose = (text: string, wanted: (connection: Connection) => boolean = () => true) => {
    for (const connection of Array.from(broker.connections).filter(wanted)) {
      broker.disconnect(connection)
      connection.peer.connectionClosed(connectionForced(text))
    }
  }
  const watchLinks = () => {
    for (const link of network.links) link.watch()
  }
  const startVhosts = (wanted: (vhost: VirtualHost) => boolean) => {
    for (const vhost of broker.vhosts.values()) if (wanted(vhost)) vhost.isDown = false
  }
  const goDown = () => {
    network.resume()
    network.isDown = true
    for (const connection of broker.connections) broker.disconnect(connection)
    broker.forgetTransient()
  }
  const releaseConfirms = () => {
    faults.confirms = { _tag: "Immediate" }
    broker.confirms.release()
  }
  const unblock = () => {
    faults.alarm = undefined
    for (const connection of broker.connections) connection.peer.unblock()
  }

  // What clients notice by themselves they do before the test goes on, which may set its Clock next: an outage of four
  // seconds would otherwise begin at its end.
  const noticed = (act: () => void): Effect.Effect<void> => Effect.andThen(Effect.sync(act), Effect.yieldNow)

  return {
    refuseConnects: (count) =>
      Effect.sync(() => {
        faults.refusedConnects = count
      }),
    delayConnects: (duration) =>
      Effect.sync(() => {
        faults.connectDelay = millis(duration)
      }),
    setEndpoint: (endpoint, behaviour) =>
      Effect.sync(() => {
        broker.endpoints.set(endpoint, behaviour)
        watchLinks()
        network.wakeAll()
      }),
    limitConnections: (limits) =>
      Effect.sync(() => {
        const { node = noLimits.node, user = noLimits.user, vhost = noLimits.vhost } = limits
        faults.limits = { node, user, vhost }
      }),
    limitChannels: (limits) =>
      Effect.sync(() => {
        const { connection, node, user } = defaultChannelLimits
        faults.channelLimits = {
          connection: limits.connection ?? connection,
          node: limits.node ?? node,
          user: limits.user ?? user
        }
      }),
    stopVhost: (name) =>
      noticed(() => {
        const vhost = broker.vhosts.get(name)
        if (vhost === undefined) return
        vhost.isDown = true
        forceClose(`vhost '${name}' is down`, (connection) => connection.vhost === vhost)
      }),
    startVhost: (name) => Effect.sync(() => startVhosts((vhost) => vhost.name === name)),
    refuse: (refusal) => Effect.sync(() => broker.refusals.add(refusal)),
    accept: Effect.sync(() => broker.refusals.clear()),
    cutConnections: noticed(() => cut(() => true)),
    cutConnection: (connectionName) => noticed(() => cut((name) => name === connectionName)),
    cutAfter: (frames) =>
      Effect.sync(() => {
        faults.cutAfter = frames
      }),
    forceClose: (text) => noticed(() => forceClose(text)),
    stopAnswering: (options) => Effect.sync(() => network.silence(options?.after ?? 0)),
    resumeAnswering: Effect.sync(() => network.resume()),
    setLatency: (duration) =>
      Effect.sync(() => {
        faults.latency = millis(duration)
      }),
    crash: noticed(() => {
      cut(() => true)
      goDown()
    }),
    shutDown: noticed(() => {
      forceClose("broker forced connection closure with reason 'shutdown'")
      goDown()
    }),
    start: Effect.sync(() => {
      network.isDown = false
    }),
    closeChannels: ({ replyCode, replyText }) =>
      noticed(() => {
        for (const connection of broker.connections) {
          for (const channel of Array.from(connection.channels)) {
            broker.fail(channel, new ReplyFault("channel", replyCode, replyText), noMethod)
          }
        }
      }),
    cancelConsumers: (name, vhost = "/") =>
      noticed(() => {
        const queue = broker.vhosts.get(vhost)?.queues.get(name)
        if (queue !== undefined) broker.cancelConsumers(queue)
      }),
    setAckTimeout: (duration) => Effect.sync(() => broker.setAckTimeout(millis(duration))),
    withholdConfirms: Effect.sync(() => {
      faults.confirms = { _tag: "Withheld" }
    }),
    releaseConfirms: Effect.sync(releaseConfirms),
    delayConfirms: (duration) =>
      Effect.sync(() => {
        faults.confirms = { _tag: "Delayed", millis: millis(duration) }
      }),
    batchConfirms: (size) =>
      Effect.sync(() => {
        faults.confirms = { _tag: "Batched", size }
      }),
    reorderConfirms: (size) =>
      Effect.sync(() => {
        faults.confirms = { _tag: "Reordered", size }
      }),
    loseConfirms: (count) =>
      Effect.sync(() => {
        faults.lostConfirms = count
      }),
    nackConfirms: (count) =>
      Effect.sync(() => {
        faults.nackedConfirms = count
      }),
    returnPublishes: (count) =>
      Effect.sync(() => {
        faults.returnedPublishes = count
      }),
    block: (reason = "low on memory") =>
      Effect.sync(() => {
        faults.alarm = reason
      }),
    unblock: Effect.sync(unblock),
    heal: Effect.sync(() => {
      Object.assign(faults, {
        refusedConnects: 0,
        connectDelay: 0,
        lostConfirms: 0,
        nackedConfirms: 0,
        returnedPublishes: 0,
        latency: 0,
        cutAfter: Number.POSITIVE_INFINITY,
        limits: noLimits,
        channelLimits: defaultChannelLimits
      })
      broker.refusals.clear()
      broker.endpoints.clear()
      watchLinks()
      startVhosts(() => true)
      network.isDown = false
      releaseConfirms()
      unblock()
      network.resume()
    }),
    addVhost: (name) =>
      Effect.sync(() => {
        broker.addVirtualHost(name)
        broker.accounts.permit("guest", name, everything)
      }),
    setUser: ({ name, password, permissions, vhost = "/" }) =>
      Effect.sync(() => {
        broker.accounts.add(name, password)
        if (permissions !== undefined) broker.accounts.permit(name, vhost, permissions)
      })
  }
}
