/**
 * What a broker means when it refuses `connection.open`, or closes the connection for a channel too many: the same reply
 * code stands for what is refused for good and for what passes.
 */
import type { AmqpErrorReason } from "../../AmqpError.ts"
import { AmqpError, ChannelLimit, ConnectionLimit, VhostDown } from "../../AmqpError.ts"

const limitOf = /(user |node )?connection limit \((\d+)\) is reached/
const channelsOf = /number of channels opened (?:for|on) (user|node) .* limit of \(?(\d+)/s
const isDown = /vhost '.*' is down|vhost .* is not running|virtual host .* is (?:down|starting)/i

/** Reads the broker's text where the reply code has its plain meaning. */
export const refine = (reason: AmqpErrorReason): AmqpErrorReason => {
  if (reason._tag !== "VhostRefused" && reason._tag !== "ConnectionLost") return reason
  const { replyText } = reason
  const limit = limitOf.exec(replyText)
  if (limit !== null) {
    return new ConnectionLimit({
      of: limit[1] === undefined ? "vhost" : limit[1] === "user " ? "user" : "node",
      limit: Number(limit[2]),
      replyText
    })
  }
  const channels = channelsOf.exec(replyText)
  if (channels !== null) {
    return new ChannelLimit({ of: channels[1] as "user" | "node", channelMax: Number(channels[2]) })
  }
  return reason._tag === "VhostRefused" && isDown.test(replyText)
    ? new VhostDown({ address: reason.address, vhost: reason.vhost, replyText })
    : reason
}

/** Reads the broker's text where a driver gave the reply code its plain meaning. */
export const refined = (error: AmqpError): AmqpError => {
  const reason = refine(error.reason)
  return reason === error.reason ? error : new AmqpError({ operation: error.operation, reason })
}

// What is not allowed (530) is about users, virtual hosts and limits.
const notAllowed = 530

/**
 * Tells if the broker closed the connection for something that was sent on it, by whichever component. It does so where it
 * cannot read a message, and where it fails itself as it handles one or an operation.
 */
export const isHangUp = ({ reason }: AmqpError): boolean =>
  reason._tag === "ConnectionLost" && reason.replyCode !== undefined && reason.replyCode >= 500 &&
  reason.replyCode !== notAllowed
