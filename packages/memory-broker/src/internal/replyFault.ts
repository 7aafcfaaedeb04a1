/**
 * The answers with which RabbitMQ refuses something: a reply code, a text, and what is closed for it, the channel or the
 * connection. The texts are RabbitMQ's own, because clients read them.
 */

import type { Dialect } from "./brokerVersion.ts"

/** Ends the handling of a frame. The broker's state is then as it was before that frame. */
export class ReplyFault extends Error {
  readonly scope: "channel" | "connection"
  readonly replyCode: number
  readonly replyText: string
  constructor(scope: "channel" | "connection", replyCode: number, replyText: string) {
    // Nobody reads the stack of an answer, and capturing one costs more than the rest.
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(replyText)
    Error.stackTraceLimit = limit
    this.scope = scope
    this.replyCode = replyCode
    this.replyText = replyText
  }
}

/** The bytes that a reply text may have on the wire. */
const longestText = 255

/** The fault as it is sent: RabbitMQ cuts a long text, and since 4.0 fails at one that is not ASCII. */
export const fitted = (fault: ReplyFault, dialect: Dialect): ReplyFault => {
  const bytes = globalThis.Buffer.from(fault.replyText)
  if (bytes.length <= longestText) return fault
  if (dialect.failsAtLongText && bytes.length > fault.replyText.length) return internalError
  const cut = `${bytes.subarray(0, longestText - 3).toString("utf8")}...`
  return new ReplyFault(fault.scope, fault.replyCode, cut)
}

/** Names an entity as RabbitMQ does: `queue 'orders' in vhost '/'`. */
export const named = (kind: "queue" | "exchange", name: string, vhost: string): string =>
  `${kind} '${name}' in vhost '${vhost}'`

export const accessRefused = (text: string): ReplyFault => new ReplyFault("channel", 403, `ACCESS_REFUSED - ${text}`)

export const notFound = (text: string): ReplyFault => new ReplyFault("channel", 404, `NOT_FOUND - ${text}`)

export const resourceLocked = (queue: string, vhost: string): ReplyFault =>
  new ReplyFault(
    "channel",
    405,
    `RESOURCE_LOCKED - cannot obtain exclusive access to locked ${named("queue", queue, vhost)}. ` +
      "It could be originally declared on another connection or the exclusive property value does not match that of " +
      "the original declaration."
  )

export const preconditionFailed = (text: string): ReplyFault =>
  new ReplyFault("channel", 406, `PRECONDITION_FAILED - ${text}`)

export const commandInvalid = (text: string): ReplyFault =>
  new ReplyFault("connection", 503, `COMMAND_INVALID - ${text}`)

export const notAllowed = (text: string): ReplyFault => new ReplyFault("connection", 530, `NOT_ALLOWED - ${text}`)

export const notImplemented = (text: string): ReplyFault =>
  new ReplyFault("connection", 540, `NOT_IMPLEMENTED - ${text}`)

/** An error inside RabbitMQ, which it does not explain to its client. */
export const internalError: ReplyFault = new ReplyFault("connection", 541, "INTERNAL_ERROR")

export const internalErrorFor = (text: string): ReplyFault =>
  new ReplyFault("connection", 541, `INTERNAL_ERROR - ${text}`)

export const connectionForced = (text: string): ReplyFault =>
  new ReplyFault("connection", 320, `CONNECTION_FORCED - ${text}`)
