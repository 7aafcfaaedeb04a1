/**
 * `basic.publish`: check a message, route it, return it if nobody takes it, confirm it.
 */
import type { Accounts } from "./accounts.ts"
import type { Dialect } from "./brokerVersion.ts"
import type { Channel } from "./channel.ts"
import type { ConfirmDesk } from "./confirmDesk.ts"
import type { DirectReply } from "./directReply.ts"
import type { DueWork } from "./dueWork.ts"
import type { Faults } from "./faults.ts"
import type { PublishCommand } from "./frames.ts"
import type { Message } from "./message.ts"
import { fromPublish } from "./message.ts"
import { checkProperties, checkSize } from "./publishChecks.ts"
import { PublishLog } from "./publishLog.ts"
import { accessRefused, named } from "./replyFault.ts"
import type { Timers } from "./timers.ts"
import type { VirtualHost } from "./virtualHost.ts"

export class Publishing {
  readonly log = new PublishLog()
  readonly #timers: Timers
  readonly #dialect: Dialect
  readonly #accounts: Accounts
  readonly #faults: Faults
  readonly #due: DueWork
  readonly #confirms: ConfirmDesk
  readonly #replies: DirectReply

  constructor(broker: {
    readonly timers: Timers
    readonly dialect: Dialect
    readonly accounts: Accounts
    readonly faults: Faults
    readonly due: DueWork
    readonly confirms: ConfirmDesk
    readonly replies: DirectReply
  }) {
    this.#timers = broker.timers
    this.#dialect = broker.dialect
    this.#accounts = broker.accounts
    this.#faults = broker.faults
    this.#due = broker.due
    this.#confirms = broker.confirms
    this.#replies = broker.replies
  }

  publish(channel: Channel, command: PublishCommand): void {
    const { connection } = channel
    const { vhost, user } = connection
    const wire = command.message
    this.#accounts.assert(user, vhost.name, "write", "exchange", wire.exchange)
    if (wire.exchange !== "" && vhost.exchange(wire.exchange).internal) {
      throw accessRefused(`cannot publish to internal ${named("exchange", wire.exchange, vhost.name)}`)
    }
    checkSize(wire.body, this.#dialect.maxMessageSize)
    checkProperties(wire.properties, user)
    const message = fromPublish(this.#replies.address(channel, wire))
    const tag = channel.confirm ? ++channel.publishSequence : 0
    const faults = this.#faults
    if (faults.nackedConfirms > 0 && channel.confirm) {
      faults.nackedConfirms--
      this.log.add(vhost.name, wire, [])
      this.#confirms.settle(channel, { tag, ack: false })
      return
    }
    const isReturned = wire.mandatory && faults.returnedPublishes > 0
    if (isReturned) faults.returnedPublishes--
    const { ack, queues } = isReturned ? { ack: true, queues: [] } : this.#route(vhost, message)
    const wasReplied = !isReturned && queues.length === 0 && this.#replies.send(vhost, message)
    if (queues.length === 0 && (!wasReplied || this.#dialect.returnsReplies) && wire.mandatory) {
      connection.peer.send(channel, {
        _tag: "Return",
        returned: {
          replyCode: 312,
          replyText: "NO_ROUTE",
          exchange: wire.exchange,
          routingKey: wire.routingKey,
          messageId: wire.properties.messageId
        }
      })
    }
    this.log.add(vhost.name, wire, queues)
    if (channel.confirm) this.#confirms.settle(channel, { tag, ack })
  }

  /** Puts a message into its queues. `ack` is `false` if one of them had no room. */
  #route(vhost: VirtualHost, message: Message): { readonly ack: boolean; readonly queues: ReadonlyArray<string> } {
    const now = this.#timers.now
    const queues: Array<string> = []
    let ack = true
    for (const queue of vhost.route(message.exchange, message)) {
      queues.push(queue.name)
      if (!queue.offer(message, now)) ack = false
      if (queue.nextExpiry !== undefined) this.#due.touch(queue)
    }
    return { ack, queues }
  }
}
