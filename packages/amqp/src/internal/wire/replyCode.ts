/**
 * Reads the reply code and text with which a broker closed a channel or a connection, as an {@link AmqpError}. RabbitMQ
 * says more in the text than in the code. Every driver reads it here, so that a fault has the same reason whichever
 * driver it came by.
 */
import type { AmqpErrorReason } from "../../AmqpError.ts"
import {
  AccessRefused,
  AmqpError,
  ChannelClosed,
  ConnectionLost,
  NotFound,
  OperationRefused,
  ResourceLocked,
  TopologyMismatch
} from "../../AmqpError.ts"

/**
 * A reply code with its text, as `channel.close` and `connection.close` carry them.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReplyCode {
  readonly operation: string
  /** What the broker closed. */
  readonly scope: "channel" | "connection"
  readonly replyCode: number
  readonly replyText: string
  /** Class and method of what the broker refused; both 0 if it names none. */
  readonly classId: number
  readonly methodId: number
}

/**
 * Makes the error for a channel or a connection that the broker closed, from the reply code and text.
 *
 * @see https://www.rabbitmq.com/amqp-0-9-1-reference#constants
 * @category constructors
 * @since 0.1.0
 */
export const fromReplyCode = (reply: ReplyCode): AmqpError =>
  new AmqpError({ operation: reply.operation, reason: reasonOfReplyCode(reply) })

const inequivalent =
  /inequivalent arg '([^']*)' for (exchange|queue) '(.*?)' in vhost '.*?': received (.*) but current is (.*)$/s
const exclusivelyConsumed = /in exclusive use$/
const invalidArgument = /^PRECONDITION_FAILED - invalid arg /
const missing = /no (exchange|queue) '(.*?)' in vhost/s
const nodeDown =
  /home node .* of durable queue '(.*?)' in vhost|queue '(.*?)' in vhost '.*?' (?:process is stopped|due to timeout)/s

const reasonOfReplyCode = (reply: ReplyCode): AmqpErrorReason => {
  const { replyCode, replyText } = reply
  if (reply.scope === "connection") return new ConnectionLost({ replyCode, replyText })
  switch (replyCode) {
    case 403:
      return exclusivelyConsumed.test(replyText) ? new ResourceLocked({ replyText }) : new AccessRefused({ replyText })
    case 404: {
      const down = nodeDown.exec(replyText)
      if (down !== null) {
        return new NotFound({ entity: "queue", entityName: down[1] ?? down[2] ?? "", replyText, nodeDown: true })
      }
      const match = missing.exec(replyText)
      return match === null
        ? new NotFound({ entity: "other", entityName: "", replyText, nodeDown: false })
        : new NotFound({ entity: match[1] as "exchange" | "queue", entityName: match[2]!, replyText, nodeDown: false })
    }
    case 405:
      return new ResourceLocked({ replyText })
    case 406: {
      const match = inequivalent.exec(replyText)
      if (match !== null) {
        return new TopologyMismatch({
          entity: match[2] as "exchange" | "queue",
          entityName: match[3]!,
          argument: match[1]!,
          wanted: match[4]!,
          actual: match[5]!,
          replyText
        })
      }
      // Class basic: an acknowledgement or a delivery timeout took the channel away, whatever else it was doing. Of
      // what a consumer asks for, its arguments are refused for good, and a stream whose replica is away is not.
      return (reply.classId === 60 || reply.classId === 0) && !invalidArgument.test(replyText)
        ? new ChannelClosed({ replyCode, replyText })
        : new OperationRefused({ replyCode, replyText })
    }
    default:
      return replyCode >= 500 && replyCode !== 541
        ? new OperationRefused({ replyCode, replyText })
        : new ChannelClosed({ replyCode, replyText })
  }
}
