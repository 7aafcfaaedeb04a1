/**
 * Direct reply-to: a queue that does not exist, and tokens that lead a reply to the channel of whoever asked.
 *
 * @see https://www.rabbitmq.com/docs/direct-reply-to
 */
import type { WireMessage } from "effect-amqp/AmqpDriver"
import type { Channel, Connection } from "./channel.ts"
import { encodeToken } from "./generatedName.ts"
import type { Message } from "./message.ts"
import { preconditionFailed } from "./replyFault.ts"
import type { VirtualHost } from "./virtualHost.ts"

export const replyToQueue = "amq.rabbitmq.reply-to"

export class DirectReply {
  readonly #connections: ReadonlySet<Connection>
  #tokens = 0

  constructor(connections: ReadonlySet<Connection>) {
    this.#connections = connections
  }

  /** Lets a channel consume replies. */
  consume(channel: Channel, consumerTag: string, noAck: boolean): void {
    if (!noAck) throw preconditionFailed("reply consumer cannot acknowledge")
    if (channel.reply !== undefined) throw preconditionFailed("reply consumer already set")
    channel.reply = { token: encodeToken(++this.#tokens), consumerTag }
  }

  cancel(channel: Channel, consumerTag: string): void {
    if (channel.reply?.consumerTag === consumerTag) channel.reply = undefined
  }

  /** Replaces the name of the reply queue in a message by the name that leads back to the publishing channel. */
  address(channel: Channel, wire: WireMessage): WireMessage {
    if (wire.properties.replyTo !== replyToQueue) return wire
    if (channel.reply === undefined) throw preconditionFailed("fast reply consumer does not exist")
    return { ...wire, properties: { ...wire.properties, replyTo: `${replyToQueue}.${channel.reply.token}` } }
  }

  /** Hands a message to the channel whose token its routing key carries. Returns `true` if there is such a channel. */
  send(vhost: VirtualHost, message: Message): boolean {
    const key = message.routingKeys[0]
    if (message.exchange !== "" || !key.startsWith(`${replyToQueue}.`)) return false
    const channel = this.#channel(vhost, key)
    if (channel?.reply === undefined) return false
    channel.connection.peer.send(channel, {
      _tag: "Deliver",
      consumerTag: channel.reply.consumerTag,
      delivery: {
        deliveryTag: ++channel.deliverySequence,
        redelivered: false,
        exchange: "",
        routingKey: key,
        properties: message.properties,
        body: message.body
      }
    })
    return true
  }

  /** Tells if a name is the reply queue, or leads to a channel that consumes replies. */
  isKnown(vhost: VirtualHost, name: string): boolean {
    return name === replyToQueue || (name.startsWith(`${replyToQueue}.`) && this.#channel(vhost, name) !== undefined)
  }

  #channel(vhost: VirtualHost, name: string): Channel | undefined {
    for (const connection of this.#connections) {
      if (connection.vhost !== vhost) continue
      for (const channel of connection.channels) {
        if (channel.reply !== undefined && name === `${replyToQueue}.${channel.reply.token}`) return channel
      }
    }
    return undefined
  }
}
