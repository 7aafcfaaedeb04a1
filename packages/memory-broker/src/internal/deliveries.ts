/**
 * Deliveries and what becomes of them: a message that is out waits on its channel until it is acknowledged, refused or
 * abandoned.
 */
import type { DriverDelivery, WireProperties } from "effect-amqp/AmqpDriver"
import type { AckTimeouts } from "./ackTimeouts.ts"
import type { Dialect } from "./brokerVersion.ts"
import type { Channel, Requeues, Unacked } from "./channel.ts"
import type { DueWork } from "./dueWork.ts"
import type { Consumer, Queue, ReturnCause } from "./queue.ts"
import type { Entry } from "./readyMessages.ts"
import { preconditionFailed } from "./replyFault.ts"
import type { Timers } from "./timers.ts"

// RabbitMQ hands so many requeues of a channel on to a quorum queue at once; the others wait until those are written.
const maxRequeuesAtOnce = 32
const requeueMillis = 10

export class Deliveries {
  readonly #timers: Timers
  readonly #dialect: Dialect
  readonly #due: DueWork
  readonly #ackTimeouts: AckTimeouts

  constructor(broker: {
    readonly timers: Timers
    readonly dialect: Dialect
    readonly due: DueWork
    readonly ackTimeouts: AckTimeouts
  }) {
    this.#timers = broker.timers
    this.#dialect = broker.dialect
    this.#due = broker.due
    this.#ackTimeouts = broker.ackTimeouts
  }

  /** Gives a message a delivery tag of a channel, and keeps it as unacknowledged unless its consumer has `noAck`. */
  hand(channel: Channel, queue: Queue, entry: Entry, noAck: boolean, consumer: Consumer | undefined): DriverDelivery {
    const { message } = entry
    const deliveryTag = ++channel.deliverySequence
    if (!noAck) {
      const unacked: Unacked = { queue, entry, consumer, deliveredAt: this.#timers.now, isTakenBack: false }
      channel.unacked.set(deliveryTag, unacked)
      this.#ackTimeouts.watch(channel, unacked)
    }
    return {
      deliveryTag,
      redelivered: entry.redelivered,
      exchange: message.exchange,
      routingKey: message.routingKeys[0],
      properties: this.#properties(queue, entry, consumer === undefined),
      body: message.body
    }
  }

  /**
   * The properties with the headers in which a quorum queue tells how often the message was delivered in vain, and a
   * stream tells its offset.
   */
  #properties(queue: Queue, { acquired, failed, message, position }: Entry, isGet: boolean): WireProperties {
    const { properties } = message
    if (queue.settings.type === "classic") return properties
    if (queue.settings.type === "stream") {
      return { ...properties, headers: { ...properties.headers, "x-stream-offset": position } }
    }
    const tellsFailed = failed > 0 || (isGet && this.#dialect.countsFirstGet)
    const tellsAcquired = acquired > 0 && this.#dialect.tellsAcquired
    if (!tellsFailed && !tellsAcquired) return properties
    return {
      ...properties,
      headers: {
        ...properties.headers,
        ...(tellsAcquired ? { "x-acquired-count": acquired } : {}),
        ...(tellsFailed ? { "x-delivery-count": failed } : {})
      }
    }
  }

  acknowledge(channel: Channel, deliveryTag: number, multiple: boolean): void {
    this.#release(this.#take(channel, deliveryTag, multiple))
  }

  nack(channel: Channel, deliveryTag: number, multiple: boolean, requeue: boolean): void {
    this.#assertRefusable(channel, deliveryTag, multiple)
    const unacked = this.#take(channel, deliveryTag, multiple)
    if (requeue) this.#giveBack(channel, unacked, "nack")
    else this.#discard(unacked, this.#dialect.countsNacks)
  }

  reject(channel: Channel, deliveryTag: number, requeue: boolean): void {
    this.#assertRefusable(channel, deliveryTag, false)
    const unacked = this.#take(channel, deliveryTag, false)
    if (requeue) this.#giveBack(channel, unacked, "reject")
    else this.#discard(unacked, true)
  }

  #assertRefusable(channel: Channel, deliveryTag: number, multiple: boolean): void {
    if (!multiple) {
      channel.unacked.get(deliveryTag)?.queue.assertRefusable()
      return
    }
    for (const [tag, { queue }] of channel.unacked) {
      if (deliveryTag > 0 && tag > deliveryTag) break
      queue.assertRefusable()
    }
  }

  #discard(unacked: ReadonlyArray<Unacked>, counts: boolean): void {
    this.#release(unacked)
    for (const { isTakenBack, queue, entry } of unacked) {
      if (queue.isDeleted || isTakenBack) continue
      entry.acquired++
      if (counts) entry.failed++
      this.#due.deadLetter(queue, entry, "rejected")
    }
  }

  /** Gives back everything that is out on a channel that is closed. */
  abandon(channel: Channel): void {
    const late = channel.requeues?.late.splice(0) ?? []
    const unacked = [...late.flatMap(({ unacked }) => unacked), ...channel.unacked.values()]
    channel.unacked.clear()
    this.#requeue(unacked, "close")
  }

  /** Takes what one acknowledgement covers. An unknown tag closes the channel. */
  #take(channel: Channel, deliveryTag: number, multiple: boolean): Array<Unacked> {
    const { unacked } = channel
    if (multiple && deliveryTag === 0) {
      const all = [...unacked.values()]
      unacked.clear()
      return all
    }
    const last = unacked.get(deliveryTag)
    if (last === undefined) throw preconditionFailed(`unknown delivery tag ${deliveryTag}`)
    if (!multiple) {
      unacked.delete(deliveryTag)
      return [last]
    }
    const taken: Array<Unacked> = []
    for (const [tag, one] of unacked) {
      if (tag > deliveryTag) break
      unacked.delete(tag)
      taken.push(one)
    }
    return taken
  }

  #release(unacked: ReadonlyArray<Unacked>): void {
    for (const { isTakenBack, queue, consumer } of unacked) {
      if (!queue.isDeleted && !isTakenBack) queue.unackedCount--
      if (consumer !== undefined) {
        consumer.unacked--
        if (isTakenBack) consumer.takenBack--
      }
      queue.settled(consumer)
      this.#due.touch(queue)
    }
  }

  /** Requeue, where it matters no faster than RabbitMQ does. */
  #giveBack(channel: Channel, unacked: ReadonlyArray<Unacked>, cause: ReturnCause): void {
    if (this.#dialect.countsNacks || !unacked.some(({ queue }) => queue.settings.type === "quorum")) {
      this.#requeue(unacked, cause)
      return
    }
    const requeues = channel.requeues ??= this.#beginRequeues(channel)
    if (++requeues.count > maxRequeuesAtOnce) requeues.late.push({ unacked, cause })
    else this.#requeue(unacked, cause)
  }

  #beginRequeues(channel: Channel): Requeues {
    this.#timers.schedule(this.#timers.now + requeueMillis, () => {
      const late = channel.requeues?.late ?? []
      channel.requeues = undefined
      for (const { cause, unacked } of late) this.#requeue(unacked, cause)
      this.#due.carryOut()
    })
    return { count: 0, late: [] }
  }

  #requeue(unacked: ReadonlyArray<Unacked>, cause: ReturnCause): void {
    this.#release(unacked)
    const byQueue = new Map<Queue, Array<Entry>>()
    for (const { isTakenBack, queue, entry } of unacked) {
      if (queue.isDeleted || isTakenBack) continue
      const entries = byQueue.get(queue)
      if (entries === undefined) byQueue.set(queue, [entry])
      else entries.push(entry)
    }
    for (const [queue, entries] of byQueue) queue.requeue(entries, cause, this.#timers.now)
  }
}
