/**
 * Connections and channels as the broker keeps them: who is on the other end, and what is open.
 */
import { Confirms } from "./confirms.ts"
import type { ChannelEvent, MethodId } from "./frames.ts"
import type { Consumer, Queue, ReturnCause } from "./queue.ts"
import type { Entry } from "./readyMessages.ts"
import type { ReplyFault } from "./replyFault.ts"
import type { Timer } from "./timers.ts"
import type { VirtualHost } from "./virtualHost.ts"

/** The client's end of a connection, as the broker sees it. */
export interface Peer {
  readonly send: (channel: Channel, event: ChannelEvent) => void
  readonly channelClosed: (channel: Channel, fault: ReplyFault, method: MethodId) => void
  readonly connectionClosed: (fault: ReplyFault) => void
  readonly unblock: () => void
}

/** A message that was delivered and waits for an acknowledgement. */
export interface Unacked {
  readonly queue: Queue
  readonly entry: Entry
  /** Undefined for a message that `basic.get` took. */
  readonly consumer: Consumer | undefined
  /** Milliseconds on the Clock. */
  readonly deliveredAt: number
  /** The broker has given the message to others because it was out for too long. */
  isTakenBack: boolean
}

/** Requeues of a channel that are on their way to a quorum queue. */
export interface Requeues {
  count: number
  /** Those that wait until the others have arrived, and are forgotten when the channel closes before. */
  readonly late: Array<{ readonly unacked: ReadonlyArray<Unacked>; readonly cause: ReturnCause }>
}

/** A connection as the broker keeps it. */
export interface Connection {
  readonly peer: Peer
  readonly user: string
  readonly vhost: VirtualHost
  readonly channels: Set<Channel>
}

/** A channel as the broker keeps it. */
export interface Channel {
  readonly number: number
  readonly connection: Connection
  readonly confirm: boolean
  readonly confirms: Confirms
  readonly consumers: Map<string, Consumer>
  /** By delivery tag, in the order of the tags. */
  readonly unacked: Map<number, Unacked>
  requeues: Requeues | undefined
  publishSequence: number
  deliverySequence: number
  prefetch: number
  lastQueue: string | undefined
  /** The token of direct reply-to once this channel consumes `amq.rabbitmq.reply-to`. */
  reply: { readonly token: string; readonly consumerTag: string } | undefined
  isOpen: boolean
  readonly openedAt: number
  /** Fires when a message may be out for too long. */
  ackTimer: Timer | undefined
}

export const makeChannel = (connection: Connection, number: number, confirm: boolean, now: number): Channel => ({
  number,
  connection,
  confirm,
  confirms: new Confirms(),
  consumers: new Map(),
  unacked: new Map(),
  requeues: undefined,
  publishSequence: 0,
  deliverySequence: 0,
  prefetch: 0,
  lastQueue: undefined,
  reply: undefined,
  isOpen: true,
  openedAt: now,
  ackTimer: undefined
})
