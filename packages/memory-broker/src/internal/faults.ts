/**
 * The switches of the broker's faults, as plain data: which are on, and how many times more.
 */

/** When the confirms of messages are sent. */
export type ConfirmMode =
  | { readonly _tag: "Immediate" }
  | { readonly _tag: "Withheld" }
  | { readonly _tag: "Delayed"; readonly millis: number }
  | { readonly _tag: "Batched"; readonly size: number }
  | { readonly _tag: "Reordered"; readonly size: number }

/** How many connections may be open at once. */
export interface ConnectionLimits {
  readonly user: number
  readonly vhost: number
  readonly node: number
}

export const noLimits: ConnectionLimits = {
  user: Number.POSITIVE_INFINITY,
  vhost: Number.POSITIVE_INFINITY,
  node: Number.POSITIVE_INFINITY
}

/** How many channels may be open at once. */
export interface ChannelLimits {
  /** What a connection negotiates as its `channel_max`. */
  readonly connection: number
  readonly user: number
  readonly node: number
}

/** RabbitMQ's defaults. */
export const defaultChannelLimits: ChannelLimits = {
  connection: 2047,
  user: Number.POSITIVE_INFINITY,
  node: Number.POSITIVE_INFINITY
}

export interface Faults {
  limits: ConnectionLimits
  channelLimits: ChannelLimits
  refusedConnects: number
  connectDelay: number
  confirms: ConfirmMode
  lostConfirms: number
  nackedConfirms: number
  returnedPublishes: number
  /** Milliseconds that a frame is under way, in each direction. */
  latency: number
  /** Milliseconds that a delivered message may stay unacknowledged. */
  ackTimeout: number
  /** The text of the resource alarm that is on. */
  alarm: string | undefined
  /** How many more frames are handled before the broker falls silent. */
  silentAfter: number
  /** How many more frames are handled before the connection of the last of them is cut. */
  cutAfter: number
}

/** RabbitMQ's default, in milliseconds. */
export const defaultAckTimeout = 30 * 60 * 1000

export const noFaults = (): Faults => ({
  limits: noLimits,
  channelLimits: defaultChannelLimits,
  refusedConnects: 0,
  connectDelay: 0,
  confirms: { _tag: "Immediate" },
  lostConfirms: 0,
  nackedConfirms: 0,
  returnedPublishes: 0,
  latency: 0,
  ackTimeout: defaultAckTimeout,
  alarm: undefined,
  silentAfter: Number.POSITIVE_INFINITY,
  cutAfter: Number.POSITIVE_INFINITY
})
