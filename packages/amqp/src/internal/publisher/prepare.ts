/**
 * From a message as the application gives it to one that can be sent, or the error that it fails with at once.
 */
import type { Headers, Message } from "../../AmqpMessage.ts"
import type { PublishErrorReason } from "../../PublishError.ts"
import { EncodeError, InvalidMessage, PublishError, TooLarge } from "../../PublishError.ts"
import type { Encoded } from "../wire/encodeMessage.ts"
import { encode } from "../wire/encodeMessage.ts"
import { Refused } from "../wire/limits.ts"

/** Prepares a message, with these headers instead of its own if they are given. */
export type Prepare = (message: Message, headers?: Headers) => Encoded | PublishError

/** Makes the preparation of a publisher. `onRefused`: a message has failed before it was submitted. */
export const make = (
  maxMessageBytes: number,
  onRefused: (exchange: string, reason: PublishErrorReason) => void
): Prepare => {
  // Short, because a UUID in each message costs RabbitMQ a tenth of the messages that it can take.
  const prefix = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("base64url")
  let sequence = 0
  const nextId = () => prefix + (++sequence).toString(36)

  const refuse = (
    { exchange }: Message,
    messageId: string | undefined,
    reason: PublishErrorReason
  ): PublishError => {
    // What was given from JavaScript may be anything.
    const name = typeof exchange === "object" && exchange !== null ? exchange.name : exchange
    onRefused(typeof name === "string" ? name : "", reason)
    return new PublishError({ messageId, reason })
  }

  return (message, headers) => {
    const encoded = encode(message, nextId, headers)
    if (encoded instanceof Refused) {
      const { detail, field } = encoded
      return refuse(
        message,
        message.messageId,
        field === "body"
          ? new EncodeError({ published: "no", detail })
          : new InvalidMessage({ published: "no", field, detail })
      )
    }
    const bytes = encoded.body.byteLength
    return bytes <= maxMessageBytes
      ? encoded
      : refuse(message, encoded.properties.messageId, new TooLarge({ published: "no", bytes, limit: maxMessageBytes }))
  }
}
