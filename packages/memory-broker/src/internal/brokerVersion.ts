/**
 * The differences between RabbitMQ versions that clients see.
 */
import type { PriorityScheme } from "./readyMessages.ts"

/**
 * A RabbitMQ version that the broker can behave like.
 *
 * @category models
 * @since 0.1.0
 */
export type BrokerVersion = "3.10" | "4.0" | "4.3"

/** How a queue orders messages by their priority. */
export interface Priorities {
  /** The highest level; 0 is a queue that does not look at priorities. */
  readonly highest: number
  /** The priority of the lowest level. Lower ones are on it too. */
  readonly least: number
  /** The priority of a message that has none. */
  readonly fallback: number
  readonly scheme: PriorityScheme
}

export const noPriorities: Priorities = { highest: 0, least: 0, fallback: 0, scheme: "strict" }

/** The differences, as settings of the broker. */
export interface Dialect {
  readonly version: string
  /** How often a message of a quorum queue may come back. A queue that sets a limit has its own. */
  readonly deliveryLimit: number | undefined
  /** Before 4.0, noting a death turned the order of the earlier deaths round. */
  readonly reversesDeaths: boolean
  /** Before 4.0, `basic.get` from a quorum queue said 0 for no earlier delivery. Since then the header is absent. */
  readonly countsFirstGet: boolean
  /** Bytes. */
  readonly maxMessageSize: number
  /** Since 4.0 a refusal says which permission is missing. */
  readonly namesPermission: boolean
  /** Since 4.0 a dead letter keeps its `CC` header when its queue replaces the routing key. */
  readonly keepsCc: boolean
  /** Since 4.0 a queue that was declared without a type has the default one, and says so. */
  readonly storesQueueType: boolean
  /** Since 4.0 an unknown exchange type closes the channel and not the connection. */
  readonly refusesTypeOnChannel: boolean
  /** Before 4.3 a mandatory direct reply that was delivered was returned all the same. */
  readonly returnsReplies: boolean
  /**
   * Before 4.3 a `basic.nack` that requeued counted as a failed delivery. Reject and a closed channel always do; since 4.3
   * the closed channel also counts for those of many nacks that it had no time to hand on.
   */
  readonly countsNacks: boolean
  /** Since 4.3 quorum queues tell how often a message came back, failed or not. */
  readonly tellsAcquired: boolean
  /** Since 4.3 a dead letter that failed takes its counts into its next queue, and is marked as redelivered there. */
  readonly keepsCounts: boolean
  /** Before 4.3 a quorum queue without a delivery limit put refused messages behind the others. */
  readonly putsRefusedLast: boolean
  /** Since 4.0 a negative delivery limit is none. Before, every message was over it when it came back. */
  readonly readsNegativeLimit: boolean
  /**
   * Since 4.3 a quorum queue takes back a message that is not acknowledged in time, and cancels its consumer; other
   * queues wait for ever. Before, the channel was closed.
   */
  readonly takesBack: boolean
  /** Since 4.0 a queue may have `x-consumer-timeout`. Since 4.3 that is only for quorum queues and their consumers. */
  readonly readsConsumerTimeout: boolean
  /**
   * Since 4.0 a quorum queue hands out two messages of a priority above 4 before one of the others, and since 4.3 it has
   * 32 priorities, of which a message without one has 4.
   */
  readonly quorumPriorities: Priorities
  /** Since 4.0 a single active consumer of a quorum queue hands over to a waiting one of higher priority. */
  readonly handsOver: boolean
  /** Since 4.0 a cancel of the single active consumer of a classic queue starts the next one at once. */
  readonly wakesAfterCancel: boolean
  /** Since 4.0 a nack or reject of a message of a stream counts as an ack. Before, it closed the connection. */
  readonly ignoresStreamRefusals: boolean
  /** Since 4.0 a refusal whose text is longer than 255 bytes and not ASCII closes the connection with 541. */
  readonly failsAtLongText: boolean
  /** Before 4.0 an `x-queue-master-locator` that is none closed the connection. */
  readonly failsAtMasterLocator: boolean
  /** Since 4.3 a queue with `x-queue-master-locator` closes the connection. */
  readonly deniesMasterLocator: boolean
  /** Since 4.0 a classic queue may have `x-queue-leader-locator`. */
  readonly hasClassicLeaders: boolean
  /** Before 4.3 an `x-max-age` that does not begin with a digit closed the connection. */
  readonly failsAtAge: boolean
  /** Since 4.0 dead letters can go into a stream. Before, they were lost on the way unless they went at least once. */
  readonly deadLettersIntoStreams: boolean
  /** Since 3.13 a reader of a stream may filter, and a filter value that is no text closes the connection. */
  readonly filtersStreams: boolean
  /** Since 4.0 refusals of stream consumers say "stream queue". */
  readonly namesStream: boolean
  /** Since 4.3 a stream offset that cannot be read closes the channel and not the connection. */
  readonly refusesOffsetOnChannel: boolean
  /** Since 4.0 a dead letter has `x-last-death-…` headers. */
  readonly namesLastDeath: boolean
  /** Since 4.3 exchanges that are not durable outlive a restart. */
  readonly keepsTransientExchanges: boolean
  /** Since 4.0 a node may limit its channels. */
  readonly limitsChannelsOfNode: boolean
  /** RabbitMQ 4.0 names the node where it means the user who has too many channels. */
  readonly namesNodeForUser: boolean
  /** Before 4.3 a limit of channels stood in brackets. */
  readonly bracketsChannelLimit: boolean
}

const before4: Dialect = {
  version: "3.10.8",
  deliveryLimit: undefined,
  reversesDeaths: true,
  countsFirstGet: true,
  maxMessageSize: 128 * 1024 * 1024,
  namesPermission: false,
  keepsCc: false,
  storesQueueType: false,
  refusesTypeOnChannel: false,
  returnsReplies: true,
  countsNacks: true,
  tellsAcquired: false,
  keepsCounts: false,
  putsRefusedLast: true,
  readsNegativeLimit: false,
  namesLastDeath: false,
  takesBack: false,
  quorumPriorities: noPriorities,
  readsConsumerTimeout: false,
  handsOver: false,
  wakesAfterCancel: false,
  ignoresStreamRefusals: false,
  filtersStreams: false,
  namesStream: false,
  failsAtLongText: false,
  deniesMasterLocator: false,
  hasClassicLeaders: false,
  failsAtAge: true,
  failsAtMasterLocator: true,
  deadLettersIntoStreams: false,
  refusesOffsetOnChannel: false,
  keepsTransientExchanges: false,
  limitsChannelsOfNode: false,
  namesNodeForUser: false,
  bracketsChannelLimit: true
}

const since4: Dialect = {
  ...before4,
  version: "4.0.5",
  deliveryLimit: 20,
  reversesDeaths: false,
  countsFirstGet: false,
  maxMessageSize: 16 * 1024 * 1024,
  namesPermission: true,
  keepsCc: true,
  storesQueueType: true,
  refusesTypeOnChannel: true,
  readsNegativeLimit: true,
  namesLastDeath: true,
  quorumPriorities: { highest: 1, least: 4, fallback: 0, scheme: "twoToOne" },
  handsOver: true,
  readsConsumerTimeout: true,
  wakesAfterCancel: true,
  ignoresStreamRefusals: true,
  filtersStreams: true,
  namesStream: true,
  failsAtMasterLocator: false,
  failsAtLongText: true,
  hasClassicLeaders: true,
  deadLettersIntoStreams: true,
  limitsChannelsOfNode: true,
  namesNodeForUser: true
}

export const dialects: Record<BrokerVersion, Dialect> = {
  "3.10": before4,
  "4.0": since4,
  "4.3": {
    ...since4,
    version: "4.3.6",
    returnsReplies: false,
    countsNacks: false,
    tellsAcquired: true,
    keepsCounts: true,
    quorumPriorities: { highest: 31, least: 0, fallback: 4, scheme: "strict" },
    putsRefusedLast: false,
    deniesMasterLocator: true,
    failsAtAge: false,
    takesBack: true,
    refusesOffsetOnChannel: true,
    keepsTransientExchanges: true,
    namesNodeForUser: false,
    bracketsChannelLimit: false
  }
}
