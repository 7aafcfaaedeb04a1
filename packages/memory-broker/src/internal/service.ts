/**
 * What can be asked of the broker, and done to it, from outside the wire.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { Permissions } from "./accounts.ts"
import type { Endpoint, EndpointBehaviour } from "./endpoints.ts"
import type { Counts, QueueState } from "./inspection.ts"
import type { PublishRecord } from "./publishLog.ts"
import type { Refusal } from "./refusals.ts"

/**
 * Breaks the broker in every way it knows, and tells what is in it, from outside the wire.
 *
 * @category services
 * @since 0.1.0
 */
export interface Service {
  /**
   * Refuses the next `count` attempts to connect, as if nothing listened.
   *
   * @example yield* broker.refuseConnects(3)
   */
  readonly refuseConnects: (count: number) => Effect.Effect<void>
  /**
   * Makes every attempt to connect take this long. 0 ends it.
   *
   * @example yield* broker.delayConnects("30 seconds")
   */
  readonly delayConnects: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Sets how an endpoint treats the clients that dial it: it `refuses` them, is `silent` and never answers the dial, is
   * `mute`, which shakes hands and answers nothing afterwards, or is `unreachable`: nothing goes through in either
   * direction any more, and both sides give up a connection when they have missed the other's heartbeats, which takes two
   * to three of them. `answers` ends it, and reads what has piled up.
   *
   * @example yield* broker.setEndpoint({ host: "rabbit-1" }, "silent")
   * @since 0.2.0
   */
  readonly setEndpoint: (endpoint: Endpoint, behaviour: EndpointBehaviour) => Effect.Effect<void>
  /**
   * Limits how many connections each user, each virtual host and the node may have. Each limit defaults to none. A
   * client beyond a limit is refused with 530 and RabbitMQ's text. Connections that are open stay.
   *
   * @example yield* broker.limitConnections({ user: 1 })
   * @since 0.2.0
   */
  readonly limitConnections: (
    limits: {
      readonly user?: number | undefined
      readonly vhost?: number | undefined
      readonly node?: number | undefined
    }
  ) => Effect.Effect<void>
  /**
   * Limits how many channels each connection, each user and the node may have. A connection negotiates its limit as it
   * connects, 2047 by default, and asks for no more: its client is told `ChannelLimit`. Beyond the limit of a user or of
   * the node, of which there is none by default, the broker ends the connection with 530 and RabbitMQ's text; RabbitMQ
   * 3.10 knows no limit of a node. Channels that are open stay.
   *
   * @example yield* broker.limitChannels({ user: 10 })
   * @since 0.2.0
   */
  readonly limitChannels: (
    limits: {
      readonly connection?: number | undefined
      readonly user?: number | undefined
      readonly node?: number | undefined
    }
  ) => Effect.Effect<void>
  /**
   * Stops a virtual host, as it is while a broker starts. Its connections are closed with 320, and clients that connect
   * are refused with 541 until `startVhost`.
   *
   * @example yield* broker.stopVhost("/")
   * @since 0.2.0
   */
  readonly stopVhost: (name: string) => Effect.Effect<void>
  /**
   * Starts a virtual host that was stopped.
   *
   * @example yield* broker.startVhost("/")
   * @since 0.2.0
   */
  readonly startVhost: (name: string) => Effect.Effect<void>
  /**
   * Refuses a chosen operation with any code and text: a setup on which the broker hangs up (541, 503, 540), a message
   * that closes its channel, the words of another broker, a reason that no rule knows.
   *
   * @example yield* broker.refuse({ on: "consume", name: "orders", replyCode: 541, replyText: "INTERNAL_ERROR" })
   * @example yield* broker.refuse({ on: "publish", messageId: "7", replyCode: 404, replyText: "No exchange", times: 1 })
   * @since 0.2.0
   */
  readonly refuse: (refusal: Refusal) => Effect.Effect<void>
  /**
   * Ends every refusal.
   *
   * @example yield* broker.accept
   * @since 0.2.0
   */
  readonly accept: Effect.Effect<void>
  /**
   * Cuts the wire of every connection. Frames under way are lost, and the clients see a reset.
   *
   * @example yield* broker.cutConnections
   */
  readonly cutConnections: Effect.Effect<void>
  /**
   * Cuts the connections that have this name.
   *
   * @example yield* broker.cutConnection("orders publish")
   */
  readonly cutConnection: (connectionName: string) => Effect.Effect<void>
  /**
   * Cuts the connection that sends the `frames`-th frame from now, after the broker has handled that frame and before
   * it has sent the answer.
   *
   * @example yield* broker.cutAfter(1) // the next publish is stored, and its confirm lost
   */
  readonly cutAfter: (frames: number) => Effect.Effect<void>
  /**
   * Closes every connection as an operator would, with 320 and `CONNECTION_FORCED - <text>`.
   *
   * @example yield* broker.forceClose("maintenance")
   */
  readonly forceClose: (text: string) => Effect.Effect<void>
  /**
   * Handles `after` more frames, and then neither reads nor answers, like a process that was stopped. `after` defaults
   * to 0. Connecting, opening, declaring, publishing and acknowledging are one frame each.
   *
   * @example yield* broker.stopAnswering({ after: 2 })
   */
  readonly stopAnswering: (options?: { readonly after?: number | undefined }) => Effect.Effect<void>
  /**
   * Answers again, beginning with the frames that have piled up.
   *
   * @example yield* broker.resumeAnswering
   */
  readonly resumeAnswering: Effect.Effect<void>
  /**
   * Makes every frame take this long in each direction. 0 ends it.
   *
   * @example yield* broker.setLatency("50 millis")
   */
  readonly setLatency: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Kills the broker. Connections are cut and connects refused. Durable queues and exchanges with their persistent
   * messages are there when the broker is started again.
   *
   * @example yield* broker.crash
   */
  readonly crash: Effect.Effect<void>
  /**
   * Shuts the broker down in order. Clients see 320; the rest is as with `crash`.
   *
   * @example yield* broker.shutDown
   */
  readonly shutDown: Effect.Effect<void>
  /**
   * Starts a broker that crashed or was shut down.
   *
   * @example yield* Effect.andThen(broker.crash, broker.start)
   */
  readonly start: Effect.Effect<void>

  /**
   * Closes every channel with this code and text.
   *
   * @example yield* broker.closeChannels({ replyCode: 406, replyText: "PRECONDITION_FAILED - timed out" })
   */
  readonly closeChannels: (
    reply: { readonly replyCode: number; readonly replyText: string }
  ) => Effect.Effect<void>
  /**
   * Cancels the consumers of a queue from the broker's side, as when the node that holds the queue goes down.
   *
   * @example yield* broker.cancelConsumers("invoices")
   */
  readonly cancelConsumers: (queue: string, vhost?: string) => Effect.Effect<void>

  /**
   * Sets how long a delivered message may stay unacknowledged. Defaults to 30 minutes, as in RabbitMQ; `"Infinity"` is
   * no limit. On 3.10 and 4.0 a late message closes its channel with 406, at the next full minute of the channel. On 4.3
   * a quorum queue takes it back and cancels its consumer, once for each message, and a classic queue waits.
   *
   * @example yield* broker.setAckTimeout("10 minutes")
   * @since 0.2.0
   */
  readonly setAckTimeout: (duration: Duration.Input) => Effect.Effect<void>

  /**
   * Keeps every confirm back until `releaseConfirms`. Messages are stored as usual.
   *
   * @example yield* broker.withholdConfirms
   */
  readonly withholdConfirms: Effect.Effect<void>
  /**
   * Sends the confirms that were kept back, and confirms at once from now on.
   *
   * @example yield* broker.releaseConfirms
   */
  readonly releaseConfirms: Effect.Effect<void>
  /**
   * Sends every confirm this much later, until `releaseConfirms`.
   *
   * @example yield* broker.delayConfirms("6 seconds")
   */
  readonly delayConfirms: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Keeps confirms back until `size` of them are due, and then sends them in as few frames as possible, with
   * `multiple`. Lasts until `releaseConfirms`.
   *
   * @example yield* broker.batchConfirms(100)
   */
  readonly batchConfirms: (size: number) => Effect.Effect<void>
  /**
   * Keeps confirms back until `size` of them are due, and then sends them one by one in an order that the seed decides.
   * Lasts until `releaseConfirms`.
   *
   * @example yield* broker.reorderConfirms(10)
   */
  readonly reorderConfirms: (size: number) => Effect.Effect<void>
  /**
   * Stores the next `count` messages and never confirms them.
   *
   * @example yield* broker.loseConfirms(1)
   */
  readonly loseConfirms: (count: number) => Effect.Effect<void>
  /**
   * Nacks the next `count` messages and does not store them.
   *
   * @example yield* broker.nackConfirms(1)
   */
  readonly nackConfirms: (count: number) => Effect.Effect<void>
  /**
   * Returns the next `count` mandatory messages with 312 as if nobody were bound, and then confirms them.
   *
   * @example yield* broker.returnPublishes(1)
   */
  readonly returnPublishes: (count: number) => Effect.Effect<void>
  /**
   * Raises a resource alarm. A connection that publishes is blocked, and no longer read.
   *
   * @example yield* broker.block()
   */
  readonly block: (reason?: string) => Effect.Effect<void>
  /**
   * Ends the alarm. Clients that were blocked are told, and what they wrote meanwhile is read.
   *
   * @example yield* broker.unblock
   */
  readonly unblock: Effect.Effect<void>
  /**
   * Ends every fault: starts, answers, accepts, confirms and unblocks, without latency or limits. Confirms that were
   * lost stay lost.
   *
   * @example yield* broker.heal
   */
  readonly heal: Effect.Effect<void>

  /** Adds a virtual host in which `guest` may do everything. */
  readonly addVhost: (name: string) => Effect.Effect<void>
  /**
   * Adds a user, or changes one. Without `permissions` the user can authenticate and use no virtual host.
   *
   * @example yield* broker.setUser({ name: "reader", password, permissions: { configure: /^$/, write: /^$/, read: /^orders/ } })
   */
  readonly setUser: (user: {
    readonly name: string
    readonly password: Redacted.Redacted<string>
    /** Defaults to `"/"`. */
    readonly vhost?: string | undefined
    readonly permissions?: Permissions | undefined
  }) => Effect.Effect<void>

  /** Counts the messages of a queue that are ready for delivery. A queue that does not exist has 0. */
  readonly depth: (queue: string, vhost?: string) => Effect.Effect<number>
  /** Tells what a queue holds and who consumes it. Undefined for a queue that does not exist. */
  readonly queue: (name: string, vhost?: string) => Effect.Effect<QueueState | undefined>
  /** Counts what clients have open. */
  readonly counts: Effect.Effect<Counts>
  /** Names the {@link Counts} that are not 0. Empty once everything that used the broker has closed. */
  readonly leftovers: Effect.Effect<ReadonlyArray<string>>
  /** Lists the last 10,000 messages that were published, and the queues that each was routed to. */
  readonly published: Effect.Effect<ReadonlyArray<PublishRecord>>
  /** Counts the frames that the broker has handled: the `k` up to which a test can loop with `stopAnswering`. */
  readonly operations: Effect.Effect<number>
}
