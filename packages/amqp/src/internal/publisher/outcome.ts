/**
 * Why a message fails, as the reason that its publisher is given. Pure.
 */
import type { DriverReturn } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { isAmqpError } from "../../AmqpError.ts"
import type { PublishErrorReason } from "../../PublishError.ts"
import * as PublishError from "../../PublishError.ts"
import type { Session } from "../connection/session.ts"
import { headerFrameSize } from "../wire/messageWriter.ts"
import { maxPropertiesSize } from "../wire/properties.ts"
import type { Entry } from "./entry.ts"

/** Says if the broker may have a message that is not confirmed. */
export const published = (entry: Entry): PublishError.Published => entry.written > 0 ? "unknown" : "no"

/** The broker returned the message. */
export const unroutable = (entry: Entry, returned: DriverReturn): PublishErrorReason =>
  new PublishError.Unroutable({
    published: entry.written > 1 || entry.maybeReturned !== undefined ? "unknown" : "no",
    exchange: returned.exchange,
    routingKey: returned.routingKey,
    replyCode: returned.replyCode,
    replyText: returned.replyText
  })

/** The channel or the connection of the message is gone. */
export const lost = (cause: AmqpError): PublishErrorReason =>
  cause.reason._tag === "ConnectionLost" || cause.reason._tag === "ProtocolFailed" ||
    cause.reason._tag === "OperationTimeout"
    ? new PublishError.ConnectionLost({ published: "unknown", cause, isCulprit: false })
    : new PublishError.ChannelClosed({ published: "unknown", cause })

/** What only the session can tell to be wrong with a message; the broker would close the channel or the connection. */
export const refusedBy = (session: Session, entry: Entry): PublishErrorReason | undefined => {
  const { headerBytes } = entry.encoded
  if (headerBytes > 0 && headerBytes + maxPropertiesSize > session.driver.frameMax) {
    const { frameMax } = session.driver
    const room = frameMax - headerFrameSize(entry.encoded, headerBytes) + headerBytes
    if (headerBytes > room) {
      return new PublishError.InvalidMessage({
        published: published(entry),
        field: "headers",
        detail:
          `they need ${headerBytes} bytes, and may need at most ${room} beside the other properties, which must ` +
          `fit one frame of ${frameMax}; use the body`
      })
    }
  }
  return undefined
}

/** The driver cannot write the message. */
export const unencodable = (entry: Entry, error: unknown): PublishErrorReason => {
  const reason = isAmqpError(error) && error.reason._tag === "InvalidMessage" ? error.reason : undefined
  return new PublishError.InvalidMessage({
    published: published(entry),
    field: reason?.field ?? "message",
    detail: reason?.detail ?? String(error)
  })
}

/** There will be no channel to write the message to: the publisher was closed, or the connection is finished. */
export const over = (entry: Entry, cause: AmqpError | undefined): PublishErrorReason =>
  cause === undefined || cause.reason._tag === "ConnectionClosed"
    ? new PublishError.PublisherClosed({ published: published(entry) })
    : new PublishError.ReconnectAbandoned({ published: published(entry), cause })
