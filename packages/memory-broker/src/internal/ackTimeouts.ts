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

  /** Watch a message that was just delivered on a channel. */
  watch(channel: Channel, unacked: Unacked): void {
    if (channel.ackTimer === undefined && this.#times(unacked)) this.#set(channel, unacked)
  }

  /** Begin anew with a timeout that has changed. */
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

  #set(channel: Channel, { deliveredAt }: Unacked): void {
    const deadline = deliveredAt + this.#faults.ackTimeout
    if (deadline === Number.POSITIVE_INFINITY) return
    // A channel looks at its ticks, and a message that is out for exactly the timeout is not late yet.
    const at = this.#dialect.takesBack
      ? deadline
      : channel.openedAt + (Math.floor((deadline - channel.openedAt) / tick) + 1) * tick
    channel.ackTimer = this.#timers.schedule(at, () => {
      channel.ackTimer = undefined
      this.#look(channel)
    })
  }

  #look(channel: Channel): void {
    const now = this.#timers.now
    const { ackTimeout } = this.#faults
    for (const unacked of channel.unacked.values()) {
      if (!this.#times(unacked)) continue
      const late = now - unacked.deliveredAt - ackTimeout
      if (late < 0 || (late === 0 && !this.#dialect.takesBack)) {
        this.#set(channel, unacked)
        return
      }
      if (!this.#dialect.takesBack) {
        this.#fail(channel, timedOut(channel, ackTimeout))
        return
      }
      const { consumer } = unacked
      if (consumer === undefined || !channel.consumers.has(consumer.tag)) {
        // Nobody is there to be told of a cancel, and RabbitMQ 4.3 names no timeout then.
        this.#fail(channel, timedOut(channel, -1))
        return
      }
      this.#takeBack(channel, unacked)
    }
  }

  /** Give one message to other consumers. Its consumer is told of a cancel, and gets nothing until it settles it. */
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
