/**
 * `basic.consume` and `basic.cancel`, and the end of consumers that the broker decides.
 */
import type { Accounts } from "./accounts.ts"
import type { Channel } from "./channel.ts"
import type { Deliveries } from "./deliveries.ts"
import type { DirectReply } from "./directReply.ts"
import { replyToQueue } from "./directReply.ts"
import type { DueWork } from "./dueWork.ts"
import type { ConsumeRequest } from "./frames.ts"
import type { ConsumeOptions, Consumer, Queue } from "./queue.ts"
import { notAllowed } from "./replyFault.ts"
import type { Timers } from "./timers.ts"

export class Consuming {
  readonly #timers: Timers
  readonly #accounts: Accounts
  readonly #due: DueWork
  readonly #deliveries: Deliveries
  readonly #replies: DirectReply

  constructor(broker: {
    readonly timers: Timers
    readonly accounts: Accounts
    readonly due: DueWork
    readonly deliveries: Deliveries
    readonly replies: DirectReply
  }) {
    this.#timers = broker.timers
    this.#accounts = broker.accounts
    this.#due = broker.due
    this.#deliveries = broker.deliveries
    this.#replies = broker.replies
  }

  /** Starts a consumer of a queue. `find` looks the queue up, and refuses a queue that the channel may not use. */
  start(channel: Channel, request: ConsumeRequest, find: (name: string) => Queue): void {
    const { connection } = channel
    const tag = request.consumerTag
    if (channel.consumers.has(tag) || channel.reply?.consumerTag === tag) {
      throw notAllowed(`attempt to reuse consumer tag '${tag}'`)
    }
    if (request.queue === replyToQueue) {
      this.#replies.consume(channel, tag, request.noAck)
      return
    }
    const queue = find(request.queue)
    this.#accounts.assert(connection.user, connection.vhost.name, "read", "queue", queue.name)
    const options: ConsumeOptions = {
      noAck: request.noAck,
      exclusive: request.exclusive,
      prefetch: channel.prefetch,
      arguments: request.arguments
    }
    queue.admit(options)
    const priority = request.arguments["x-priority"]
    const consumer: Consumer = {
      ...options,
      tag,
      queue,
      priority: typeof priority === "number" ? priority : 0,
      unacked: 0,
      takenBack: 0,
      deliver: (entry) => {
        const delivery = this.#deliveries.hand(channel, queue, entry, request.noAck, consumer)
        connection.peer.send(channel, { _tag: "Deliver", consumerTag: tag, delivery })
      },
      cancelled: () => {
        channel.consumers.delete(tag)
        connection.peer.send(channel, { _tag: "CancelConsumer", consumerTag: tag })
      }
    }
    channel.consumers.set(tag, consumer)
    queue.addConsumer(consumer, this.#timers.now)
  }

  cancel(channel: Channel, tag: string): void {
    this.#replies.cancel(channel, tag)
    const consumer = channel.consumers.get(tag)
    if (consumer === undefined) return
    channel.consumers.delete(tag)
    this.#remove(channel, consumer, "cancel")
  }

  /** Ends the consumers of a channel that is closed. */
  abandon(channel: Channel): void {
    for (const consumer of channel.consumers.values()) this.#remove(channel, consumer, "close")
    channel.consumers.clear()
  }

  #remove(channel: Channel, consumer: Consumer, cause: "cancel" | "close"): void {
    const { queue } = consumer
    queue.removeConsumer(consumer, this.#timers.now, cause)
    if (queue.autoDelete && queue.consumers.length === 0) channel.connection.vhost.deleteQueue(queue)
    else this.#due.touch(queue)
  }

  /** Cancels the consumers of a queue as if the node that holds it had gone. */
  cancelAll(queue: Queue): void {
    for (const consumer of Array.from(queue.consumers)) {
      queue.removeConsumer(consumer, this.#timers.now, "close")
      consumer.cancelled()
    }
    this.#due.touch(queue)
  }
}
