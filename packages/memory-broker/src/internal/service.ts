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

/** The broker seen from outside the wire: every way to break it, and what is in it. */
export interface Service {
  /**
   * Refuse the next `count` attempts to connect, as if nothing listened.
   *
   * @example `yield* broker.refuseConnects(3)`
   */
  readonly refuseConnects: (count: number) => Effect.Effect<void>
  /**
   * Let every attempt to connect take this long; `0` ends it.
   *
   * @example `yield* broker.delayConnects("30 seconds")`
   */
  readonly delayConnects: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Let clients that dial a host (and a port, by default every port) meet an endpoint that `refuses`, that is `silent`
   * so that the dial is never answered, or that is `mute`: it shakes hands and answers nothing afterwards. `answers`
   * ends it, and reads what has piled up.
   *
   * @example `yield* broker.setEndpoint({ host: "rabbit-1" }, "silent")`
   * @since 0.2.0
   */
  readonly setEndpoint: (endpoint: Endpoint, behaviour: EndpointBehaviour) => Effect.Effect<void>
  /**
   * Limit how many connections each user, each virtual host and the node may have; without a number there is no limit.
   * A client beyond it is refused with 530 and RabbitMQ's text; connections that are open stay.
   *
   * @example `yield* broker.limitConnections({ user: 1 })`
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
   * Let a virtual host be down, as while a broker starts: its connections are closed with 320, and who connects is
   * refused with 541 until {@link startVhost}.
   *
   * @example `yield* broker.stopVhost("/")`
   * @since 0.2.0
   */
  readonly stopVhost: (name: string) => Effect.Effect<void>
  /**
   * Start a virtual host that was stopped.
   *
   * @example `yield* broker.startVhost("/")`
   * @since 0.2.0
   */
  readonly startVhost: (name: string) => Effect.Effect<void>
  /**
   * Refuse a chosen operation with any code and text: a setup on which the broker hangs up (541, 503, 540), a message
   * that closes its channel, the words of another broker, a reason that no rule knows.
   *
   * @example
   * ```ts
   * yield* broker.refuse({ on: "consume", name: "orders", replyCode: 541, replyText: "INTERNAL_ERROR" })
   * yield* broker.refuse({ on: "publish", messageId: "7", replyCode: 404, replyText: "No exchange", times: 1 })
   * ```
   * @since 0.2.0
   */
  readonly refuse: (refusal: Refusal) => Effect.Effect<void>
  /**
   * End every refusal.
   *
   * @example `yield* broker.accept`
   * @since 0.2.0
   */
  readonly accept: Effect.Effect<void>
  /**
   * Cut the wire of every connection: what is under way is lost, and the clients see a reset.
   *
   * @example `yield* broker.cutConnections`
   */
  readonly cutConnections: Effect.Effect<void>
  /**
   * Cut the connections that have this name.
   *
   * @example `yield* broker.cutConnection("orders publish")`
   */
  readonly cutConnection: (connectionName: string) => Effect.Effect<void>
  /**
   * Cut the connection that sends the `frames`-th frame from now, after the broker has handled that frame and before
   * its answer is sent.
   *
   * @example `yield* broker.cutAfter(1) // the next publish is stored, and its confirm lost`
   */
  readonly cutAfter: (frames: number) => Effect.Effect<void>
  /**
   * Close every connection as an operator would, with 320 and `CONNECTION_FORCED - <text>`.
   *
   * @example `yield* broker.forceClose("maintenance")`
   */
  readonly forceClose: (text: string) => Effect.Effect<void>
  /**
   * Fall silent: handle `after` more frames (none by default), then neither read nor answer, like a process that was
   * stopped. Connecting, opening, declaring, publishing and acknowledging are one frame each.
   *
   * @example `yield* broker.stopAnswering({ after: 2 })`
   */
  readonly stopAnswering: (options?: { readonly after?: number | undefined }) => Effect.Effect<void>
  /**
   * Answer again, beginning with all that has piled up.
   *
   * @example `yield* broker.resumeAnswering`
   */
  readonly resumeAnswering: Effect.Effect<void>
  /**
   * Let every frame take this long in each direction; `0` ends it.
   *
   * @example `yield* broker.setLatency("50 millis")`
   */
  readonly setLatency: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Kill the broker: connections are cut, connects refused, and only durable queues and exchanges with their persistent
   * messages are there when it is started again.
   *
   * @example `yield* broker.crash`
   */
  readonly crash: Effect.Effect<void>
  /**
   * Shut the broker down in order: clients see 320; the rest is as with `crash`.
   *
   * @example `yield* broker.shutDown`
   */
  readonly shutDown: Effect.Effect<void>
  /**
   * Start a broker that crashed or was shut down.
   *
   * @example `yield* Effect.andThen(broker.crash, broker.start)`
   */
  readonly start: Effect.Effect<void>

  /**
   * Close every channel with this code and text.
   *
   * @example `yield* broker.closeChannels({ replyCode: 406, replyText: "PRECONDITION_FAILED - timed out" })`
   */
  readonly closeChannels: (
    reply: { readonly replyCode: number; readonly replyText: string }
  ) => Effect.Effect<void>
  /**
   * Cancel the consumers of a queue from the broker's side, as when the node that holds it goes down.
   *
   * @example `yield* broker.cancelConsumers("invoices")`
   */
  readonly cancelConsumers: (queue: string, vhost?: string) => Effect.Effect<void>

  /**
   * Set how long a delivered message may stay unacknowledged. Defaults to 30 minutes, as in RabbitMQ; `"Infinity"` is
   * for ever. What happens to a message that is late depends on the version: 3.10 and 4.0 close its channel with 406 at
   * the next minute of the channel; 4.3 waits for ever on classic queues, and on quorum queues gives the message to
   * others and cancels the consumer, once for each message.
   *
   * @example `yield* broker.setAckTimeout("10 minutes")`
   */
  readonly setAckTimeout: (duration: Duration.Input) => Effect.Effect<void>

  /**
   * Keep every confirm back until `releaseConfirms`; messages are stored as usual.
   *
   * @example `yield* broker.withholdConfirms`
   */
  readonly withholdConfirms: Effect.Effect<void>
  /**
   * Send the confirms that were kept back, and confirm at once from now on.
   *
   * @example `yield* broker.releaseConfirms`
   */
  readonly releaseConfirms: Effect.Effect<void>
  /**
   * Send every confirm this much later, until `releaseConfirms`.
   *
   * @example `yield* broker.delayConfirms("6 seconds")`
   */
  readonly delayConfirms: (duration: Duration.Input) => Effect.Effect<void>
  /**
   * Keep confirms back until `size` of them are due, and then send them in as few frames as possible, with `multiple`;
   * until `releaseConfirms`.
   *
   * @example `yield* broker.batchConfirms(100)`
   */
  readonly batchConfirms: (size: number) => Effect.Effect<void>
  /**
   * Keep confirms back until `size` of them are due, and then send them one by one in an order that the seed decides;
   * until `releaseConfirms`.
   *
   * @example `yield* broker.reorderConfirms(10)`
   */
  readonly reorderConfirms: (size: number) => Effect.Effect<void>
  /**
   * Store the next `count` messages and never confirm them.
   *
   * @example `yield* broker.loseConfirms(1)`
   */
  readonly loseConfirms: (count: number) => Effect.Effect<void>
  /**
   * Nack the next `count` messages and do not store them.
   *
   * @example `yield* broker.nackConfirms(1)`
   */
  readonly nackConfirms: (count: number) => Effect.Effect<void>
  /**
   * Return the next `count` mandatory messages as if nobody were bound: 312, and then the ack.
   *
   * @example `yield* broker.returnPublishes(1)`
   */
  readonly returnPublishes: (count: number) => Effect.Effect<void>
  /**
   * Raise a resource alarm: a connection is blocked, and no longer read, when it next publishes.
   *
   * @example `yield* broker.block()`
   */
  readonly block: (reason?: string) => Effect.Effect<void>
  /**
   * End the alarm: the clients that were told are told again, and what they wrote meanwhile is read.
   *
   * @example `yield* broker.unblock`
   */
  readonly unblock: Effect.Effect<void>
  /**
   * End every fault: start, answer, confirm, unblock, without latency. Confirms that were lost stay lost.
   *
   * @example `yield* broker.heal`
   */
  readonly heal: Effect.Effect<void>

  /** Add a virtual host in which `guest` may do everything. */
  readonly addVhost: (name: string) => Effect.Effect<void>
  /**
   * Add a user, or change one. Without `permissions` the user can authenticate and use no virtual host.
   *
   * @example `yield* broker.setUser({ name: "reader", password, permissions: { configure: /^$/, write: /^$/, read: /.*\/ } })`
   */
  readonly setUser: (user: {
    readonly name: string
    readonly password: Redacted.Redacted<string>
    /** `/` by default. */
    readonly vhost?: string | undefined
    readonly permissions?: Permissions | undefined
  }) => Effect.Effect<void>

  /** How many messages of a queue are ready for delivery; 0 for a queue that does not exist. */
  readonly depth: (queue: string, vhost?: string) => Effect.Effect<number>
  /** What a queue holds, and who consumes it; undefined if it does not exist. */
  readonly queue: (name: string, vhost?: string) => Effect.Effect<QueueState | undefined>
  /** What clients have open. */
  readonly counts: Effect.Effect<Counts>
  /** What of {@link Counts} is not 0, as text: empty once everything that used the broker has closed. */
  readonly leftovers: Effect.Effect<ReadonlyArray<string>>
  /** The last 10,000 messages that were published, and the queues that each was routed to. */
  readonly published: Effect.Effect<ReadonlyArray<PublishRecord>>
  /** How many frames the broker has handled: the `k` up to which a test can loop with `stopAnswering`. */
  readonly operations: Effect.Effect<number>
}
