/**
 * Operations that the broker refuses because a test wants it to.
 */
import type { Command, Request } from "./frames.ts"
import { ReplyFault } from "./replyFault.ts"

type Frame = Exclude<Request, { readonly _tag: "OpenChannel" | "CloseChannel" }> | Command

/**
 * An operation of a channel, as the driver names it, such as `declareQueue`, `consume` or `publish`.
 *
 * @category models
 * @since 0.2.0
 */
export type Operation = Uncapitalize<Frame["_tag"]>

/**
 * An operation that is refused, and what the broker says. Codes from 500, 402 and 320 close the connection, others the
 * channel.
 *
 * @category models
 * @since 0.2.0
 */
export interface Refusal {
  readonly on: Operation
  /**
   * The queue or exchange of the operation; for a message its exchange, or its routing key if that is the default
   * exchange. Defaults to any.
   */
  readonly name?: string | undefined
  /** The id of the message that is refused. Defaults to any. */
  readonly messageId?: string | undefined
  readonly replyCode: number
  /** The text as it is on the wire, where RabbitMQ has its name of the code in front; it is cut at 255 bytes. */
  readonly replyText: string
  /** How often it is refused. Defaults to every time, until {@link Service.accept} or {@link Service.heal}. */
  readonly times?: number | undefined
}

const nameOf = (frame: Frame): string | undefined => {
  switch (frame._tag) {
    case "Publish":
      return frame.message.exchange === "" ? frame.message.routingKey : frame.message.exchange
    case "DeclareExchange":
      return frame.declaration.exchange
    case "DeclareQueue":
      return frame.declaration.queue
    case "BindQueue":
    case "UnbindQueue":
      return frame.binding.queue
    case "BindExchange":
    case "UnbindExchange":
      return frame.binding.destination
    case "CheckExchange":
    case "DeleteExchange":
      return frame.exchange
    case "CheckQueue":
    case "DeleteQueue":
    case "PurgeQueue":
    case "Get":
    case "Consume":
      return frame.queue
    default:
      return undefined
  }
}

const closesConnection = (replyCode: number): boolean => replyCode >= 500 || replyCode === 402 || replyCode === 320

export class Refusals {
  #left: Array<{ readonly refusal: Refusal; times: number }> = []

  add(refusal: Refusal): void {
    this.#left.push({ refusal, times: refusal.times ?? Number.POSITIVE_INFINITY })
  }

  clear(): void {
    this.#left = []
  }

  /** Throws the fault of the first refusal that fits. */
  assertAccepted(frame: Request | Command): void {
    if (this.#left.length === 0 || frame._tag === "OpenChannel" || frame._tag === "CloseChannel") return
    const found = this.#left.find(({ refusal: { messageId, name, on } }) =>
      on.toLowerCase() === frame._tag.toLowerCase() &&
      (name === undefined || name === nameOf(frame)) &&
      (messageId === undefined || (frame._tag === "Publish" && frame.message.properties.messageId === messageId))
    )
    if (found === undefined) return
    found.times--
    if (found.times <= 0) this.#left = this.#left.filter((one) => one !== found)
    const { replyCode, replyText } = found.refusal
    throw new ReplyFault(closesConnection(replyCode) ? "connection" : "channel", replyCode, replyText)
  }
}
