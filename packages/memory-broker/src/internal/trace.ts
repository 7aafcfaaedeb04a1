/**
 * The broker's frames as readable lines.
 */
import type { DriverDelivery, WireMessage } from "effect-amqp/AmqpDriver"
import type { ChannelEvent, Command, MethodId, Request } from "./frames.ts"
import { methods } from "./frames.ts"
import type { ReplyFault } from "./replyFault.ts"

/** A frame, or an event of a connection. */
export type Traced =
  | Request
  | Command
  | ChannelEvent
  | { readonly _tag: "Handshake" }
  | { readonly _tag: "Goodbye" }
  | { readonly _tag: "Gone" }
  | { readonly _tag: "Cut" }
  | { readonly _tag: "Blocked"; readonly reason: string }
  | { readonly _tag: "Unblocked" }
  | { readonly _tag: "Answer"; readonly request: Request; readonly value: unknown }
  | { readonly _tag: "ChannelClosed"; readonly fault: ReplyFault; readonly method: MethodId }
  | { readonly _tag: "ConnectionClosed"; readonly fault: ReplyFault }

/** Tells of a frame: its connection, its channel number (0 for the connection) and its direction. */
export type Trace = (connectionName: string, channel: number, direction: "in" | "out", traced: Traced) => void

export const noTrace: Trace = () => {}

const routed = (message: WireMessage | DriverDelivery): string =>
  `"${message.exchange}" "${message.routingKey}"` +
  (message.properties.messageId === undefined ? "" : ` id ${message.properties.messageId}`) +
  ` ${message.body.length} bytes`

const fields = (value: object): string =>
  Object.entries(value)
    .filter(([name, field]) => name !== "_tag" && field !== false && field !== undefined)
    .map(([name, field]) => `${name}=${JSON.stringify(field)}`)
    .join(" ")

const flattened = (request: Request): object =>
  "declaration" in request ? request.declaration : "binding" in request ? request.binding : request

const describe = (traced: Traced): string => {
  switch (traced._tag) {
    case "Publish":
      return `basic.publish ${routed(traced.message)}${traced.message.mandatory ? " mandatory" : ""}`
    case "Deliver":
      return `basic.deliver ${traced.consumerTag} tag ${traced.delivery.deliveryTag} ${routed(traced.delivery)}` +
        (traced.delivery.redelivered ? " redelivered" : "")
    case "Confirm":
      return `basic.${traced.ack ? "ack" : "nack"} tag ${traced.deliveryTag}${traced.multiple ? " and below" : ""}`
    case "Return":
      return `basic.return ${traced.returned.replyCode} ${traced.returned.replyText} "${traced.returned.exchange}" ` +
        `"${traced.returned.routingKey}"`
    case "CancelConsumer":
      return `basic.cancel ${traced.consumerTag}`
    case "Drain":
      return "the write buffer is empty"
    case "Handshake":
      return "connection.open"
    case "Goodbye":
      return "connection.close"
    case "Gone":
      return "the client dropped the connection"
    case "Cut":
      return "the connection was cut"
    case "Blocked":
      return `connection.blocked ${traced.reason}`
    case "Unblocked":
      return "connection.unblocked"
    case "Answer":
      return `${methods[traced.request._tag].name}-ok`
    case "ChannelClosed":
      return `channel.close ${traced.fault.replyCode} ${traced.fault.replyText} (${traced.method.name})`
    case "ConnectionClosed":
      return `connection.close ${traced.fault.replyCode} ${traced.fault.replyText}`
    case "Ack":
    case "Nack":
    case "Reject":
      return `${methods[traced._tag].name} ${fields(traced)}`
    default:
      return `${methods[traced._tag].name} ${fields(flattened(traced))}`
  }
}

/** Renders one line: the name of the connection, the channel, the direction as the client sees it, and the frame. */
export const renderTrace: (...args: Parameters<Trace>) => string = (connectionName, channel, direction, traced) =>
  `${connectionName} ch ${channel} ${direction === "in" ? "→" : "←"} ${describe(traced)}`
