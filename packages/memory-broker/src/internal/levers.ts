/**
 * The faults, as effects on a {@link Network}.
 */
import { ConnectionLost } from "effect-amqp/AmqpError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { everything } from "./accounts.ts"
import { noMethod } from "./frames.ts"
import type { Link } from "./link.ts"
import type { Network } from "./network.ts"
import { connectionForced, ReplyFault } from "./replyFault.ts"
import type { Service } from "./service.ts"

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
  const forceClose = (text: string) => {
    for (const connection of Array.from(broker.connections)) {
      broker.disconnect(connection)
      connection.peer.connectionClosed(connectionForced(text))
    }
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
        cutAfter: Number.POSITIVE_INFINITY
      })
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
