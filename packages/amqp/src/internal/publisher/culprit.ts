/**
 * Reads from the end of a channel which messages can have caused it, and how they fail. Pure.
 */
import type { AmqpError } from "../../AmqpError.ts"
import type { Published, PublishErrorReason } from "../../PublishError.ts"
import * as PublishError from "../../PublishError.ts"
import type { Encoded } from "../wire/encodeMessage.ts"
import { exchangeLabel } from "../wire/exchangeLabel.ts"
import type { Kind } from "./quarantine.ts"
import { ofExchange, ofLikes, ofTopic, ofUser } from "./quarantine.ts"

/** The messages that can be the cause of a close. */
export interface Culprit {
  readonly fits: (encoded: Encoded) => boolean
  /** The failure of the message. */
  readonly outcome: (encoded: Encoded, published: Published) => PublishErrorReason
  /** The common mark of messages that would close a channel for the same reason. */
  readonly kind: (encoded: Encoded) => Kind
}

const exchangeInText = /exchange '(.*?)' in vhost/s
const topicInText = /access to topic '(.*?)' in exchange/s
const sizeInText = /message size (\d+) .*?max(?:imum)? size (\d+)/s
const userInText = /user_id property set to '(.*?)' but authenticated user was/s

// A reply text has 255 bytes at most. RabbitMQ puts dots for what it cuts off, in the middle of a character too.
const beforeCut = /exchange '(.*?)\uFFFD*(?:\.\.\.)?$/s
const minCut = 250

/** Matches the names of exchanges that a text which was cut can mean. */
const cutName = (replyText: string): ((name: string) => boolean) | undefined => {
  const rest = Buffer.byteLength(replyText) < minCut ? undefined : beforeCut.exec(replyText)?.[1]
  return rest === undefined ? undefined : (name) => {
    const whole = `${name}' in vhost '`
    return whole.startsWith(rest) || rest.startsWith(whole)
  }
}

/** Tells if the broker closed the channel for something that was sent on it. */
export const isRefusal = ({ reason }: AmqpError): boolean => {
  switch (reason._tag) {
    case "NotFound":
    case "AccessRefused":
    case "ResourceLocked":
    case "OperationRefused":
      return true
    case "ChannelClosed":
      return reason.replyCode !== undefined
    default:
      return false
  }
}

/** Reads the text of a close; nothing if it names no message. */
export const named = ({ reason }: AmqpError): Culprit | undefined => {
  switch (reason._tag) {
    case "NotFound": {
      const matches = reason.entity === "exchange"
        ? (name: string) => name === reason.entityName
        : cutName(reason.replyText)
      return matches === undefined ? undefined : {
        fits: ({ exchange }) => matches(exchange),
        outcome: ({ exchange }, published) => new PublishError.ExchangeNotFound({ published, exchange }),
        kind: ({ exchange }) => ofExchange(exchange)
      }
    }
    case "AccessRefused": {
      const refused = exchangeInText.exec(reason.replyText)?.[1]
      const matches = refused === undefined ? cutName(reason.replyText) : (name: string) => name === refused
      if (matches === undefined) return undefined
      const topic = topicInText.exec(reason.replyText)?.[1]
      return {
        fits: ({ exchange, routingKey }) =>
          matches(exchangeLabel(exchange)) && (topic === undefined || topic === routingKey),
        outcome: ({ exchange }, published) =>
          new PublishError.AccessRefused({ published, exchange, replyText: reason.replyText }),
        kind: ({ exchange, routingKey }) => topic === undefined ? ofExchange(exchange) : ofTopic(exchange, routingKey)
      }
    }
    case "ChannelClosed":
    case "OperationRefused": {
      const limit = Number(sizeInText.exec(reason.replyText)?.[2] ?? NaN)
      if (!Number.isNaN(limit)) {
        return {
          fits: ({ body }) => body.byteLength > limit,
          outcome: ({ body }, published) => new PublishError.TooLarge({ published, bytes: body.byteLength, limit }),
          kind: () => limit
        }
      }
      const user = userInText.exec(reason.replyText)?.[1]
      return user === undefined ? undefined : {
        fits: ({ properties }) => properties.userId === user,
        outcome: (_, published) =>
          new PublishError.InvalidMessage({
            published,
            field: "userId",
            detail:
              `the broker refused it (${reason.replyText}): use the name of the connection's user, or give that ` +
              `user the tag "impersonator"`
          }),
        kind: () => ofUser(user)
      }
    }
    default:
      return undefined
  }
}

/** Takes for the culprit, whatever the text says, the one message that was alone on the channel. */
export const alone = (error: AmqpError, { encoded }: { readonly encoded: Encoded }): Culprit => ({
  fits: (other) => other === encoded,
  outcome({ exchange }, published) {
    const { reason } = error
    switch (reason._tag) {
      // Only the exchange of a publish can be missing.
      case "NotFound":
        return new PublishError.ExchangeNotFound({ published, exchange })
      case "AccessRefused":
        return new PublishError.AccessRefused({ published, exchange, replyText: reason.replyText })
      case "ConnectionLost":
        // It may have been routed before the broker failed.
        return new PublishError.ConnectionLost({ published: "unknown", cause: error, isCulprit: true })
      default:
        return new PublishError.ChannelClosed({ published, cause: error })
    }
  },
  kind: ofLikes
})
