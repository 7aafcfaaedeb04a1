/**
 * What a broker means when it refuses `connection.open`: the same reply code stands for what is refused for good and
 * for what passes.
 */
import type { AmqpErrorReason } from "../../AmqpError.ts"
import { AmqpError, ConnectionLimit, VhostDown } from "../../AmqpError.ts"

const limitOf = /(user |node )?connection limit \((\d+)\) is reached/
const isDown = /vhost '.*' is down|vhost .* is not running|virtual host .* is (?:down|starting)/i

const refine = (reason: AmqpErrorReason): AmqpErrorReason => {
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
  return reason._tag === "VhostRefused" && isDown.test(replyText)
    ? new VhostDown({ address: reason.address, vhost: reason.vhost, replyText })
    : reason
}

/** Reads the broker's text where a driver gave the reply code its plain meaning. */
export const refined = (error: AmqpError): AmqpError => {
  const reason = refine(error.reason)
  return reason === error.reason ? error : new AmqpError({ operation: error.operation, reason })
}
