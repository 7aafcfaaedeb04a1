/**
 * Acknowledgement timeouts: what the broker does about a message that is out for too long.
 *
 * @see https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
 */
import type { Dialect } from "./brokerVersion.ts"
import type { Channel, Unacked } from "./channel.ts"
import type { DueWork } from "./dueWork.ts"
import type { Faults } from "./faults.ts"
import type { ReplyFault } from "./replyFault.ts"
import { preconditionFailed } from "./replyFault.ts"
import type { Timers } from "./timers.ts"

/** How often a channel looks for messages that are out for too long, in milliseconds: `channel_tick_interval`. */
const tick = 60_000

const timedOut = (channel: Channel, millis: number): ReplyFault =>
  preconditionFailed(
    `delivery acknowledgement on channel ${channel.number} timed out. Timeout value used: ${millis} ms. ` +
      "This timeout value can be configured, see consumers doc guide to learn more"
  )

export class AckTimeouts {
  readonly #timers: Timers
  readonly #dialect: Dialect
  readonly #faults: Faults
  readonly #due: DueWork
  readonly #fail: (channel: Channel, fault: ReplyFault) => void

  /** `fail` closes a channel for a fault. */
  constructor(broker: {
    readonly timers: Timers
    readonly dialect: Dialect
    readonly faults: Faults
    readonly due: DueWork
    readonly fail: (channel: Channel, fault: ReplyFault) => void
  }) {
    this.#timers = broker.timers
    this.#dialect = broker.dialect
    this.#faults = broker.faults
    this.#due = broker.due
    this.#fail = broker.fail
  }

  /** Watches a message that was just delivered on a channel. */
  watch(channel: Channel, unacked: Unacked): void {
    if (this.#times(unacked)) this.#wakeAt(channel, this.#lateAt(channel, unacked))
  }

  /** Begins anew with a timeout that has changed. */
  lookAgain(channel: Channel): void {
    this.forget(channel)
    this.#look(channel)
  }

  forget(channel: Channel): void {
    channel.ackTimer?.cancel()
    channel.ackTimer = undefined
  }

  #times({ isTakenBack, queue }: Unacked): boolean {
    return !isTakenBack && (!this.#dialect.takesBack || queue.settings.type === "quorum")
  }

  /** The timeout of a message: what its consumer or its queue says, or that of the broker. */
  #timeoutOf({ consumer, queue }: Unacked): number {
    const own = this.#dialect.takesBack ? consumer?.arguments["x-consumer-timeout"] : undefined
    return typeof own === "number" ? own : queue.settings.consumerTimeout ?? this.#faults.ackTimeout
  }

  /** When the broker finds a message late. */
  #lateAt(channel: Channel, unacked: Unacked): number {
    const deadline = unacked.deliveredAt + this.#timeoutOf(unacked)
    if (this.#dialect.takesBack || deadline === Number.POSITIVE_INFINITY) return deadline
    // A channel looks at its ticks, and a message that is out for exactly the timeout is not late yet.
    return channel.openedAt + (Math.floor((deadline - channel.openedAt) / tick) + 1) * tick
  }

  #wakeAt(channel: Channel, at: number): void {
    if (at === Number.POSITIVE_INFINITY || (channel.ackTimer !== undefined && channel.ackTimer.at <= at)) return
    channel.ackTimer?.cancel()
    channel.ackTimer = this.#timers.schedule(at, () => {
      channel.ackTimer = undefined
      this.#look(channel)
    })
  }

  #look(channel: Channel): void {
    const now = this.#timers.now
    for (const unacked of channel.unacked.values()) {
      if (!channel.isOpen) return
      if (!this.#times(unacked)) continue
      const at = this.#lateAt(channel, unacked)
      if (at > now) this.#wakeAt(channel, at)
      else this.#expire(channel, unacked)
    }
  }

  #expire(channel: Channel, unacked: Unacked): void {
    const { consumer } = unacked
    if (!this.#dialect.takesBack) this.#fail(channel, timedOut(channel, this.#timeoutOf(unacked)))
    // Nobody is there to be told of a cancel, and RabbitMQ 4.3 names no timeout then.
    else if (consumer === undefined || !channel.consumers.has(consumer.tag)) this.#fail(channel, timedOut(channel, -1))
    else this.#takeBack(channel, unacked)
  }

  /** Gives one message to other consumers. Its consumer is told of a cancel, and gets nothing until it settles it. */
  #takeBack(channel: Channel, unacked: Unacked): void {
    const { consumer, entry, queue } = unacked
    if (consumer === undefined) return
    unacked.isTakenBack = true
    consumer.takenBack++
    queue.suspend(consumer)
    channel.connection.peer.send(channel, { _tag: "CancelConsumer", consumerTag: consumer.tag })
    if (!queue.isDeleted) {
      queue.unackedCount--
      // The channel keeps this entry for a late acknowledgement, so the queue gets another.
      queue.requeue([{ ...entry }], "timeout", this.#timers.now)
    }
    this.#due.touch(queue)
    this.#due.carryOut()
  }
}
