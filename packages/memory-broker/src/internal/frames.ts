/**
 * The frames between a client and the broker, as plain data: requests, which the broker answers; commands, which it does
 * not answer; and events, which the broker sends by itself.
 */
import type {
  DriverDelivery,
  DriverReturn,
  ExchangeBinding,
  ExchangeDeclaration,
  QueueBinding,
  QueueDeclaration,
  WireMessage
} from "effect-amqp/AmqpDriver"
import type { Headers } from "effect-amqp/AmqpMessage"

/** A method that the broker answers. */
export type Request =
  | { readonly _tag: "OpenChannel"; readonly confirm: boolean }
  | { readonly _tag: "CloseChannel" }
  | { readonly _tag: "DeclareExchange"; readonly declaration: ExchangeDeclaration }
  | { readonly _tag: "CheckExchange"; readonly exchange: string }
  | { readonly _tag: "DeleteExchange"; readonly exchange: string; readonly ifUnused: boolean }
  | { readonly _tag: "BindExchange"; readonly binding: ExchangeBinding }
  | { readonly _tag: "UnbindExchange"; readonly binding: ExchangeBinding }
  | { readonly _tag: "DeclareQueue"; readonly declaration: QueueDeclaration }
  | { readonly _tag: "CheckQueue"; readonly queue: string }
  | { readonly _tag: "DeleteQueue"; readonly queue: string; readonly ifUnused: boolean; readonly ifEmpty: boolean }
  | { readonly _tag: "PurgeQueue"; readonly queue: string }
  | { readonly _tag: "BindQueue"; readonly binding: QueueBinding }
  | { readonly _tag: "UnbindQueue"; readonly binding: QueueBinding }
  | { readonly _tag: "Get"; readonly queue: string; readonly noAck: boolean }
  | { readonly _tag: "Prefetch"; readonly count: number }
  | ConsumeRequest
  | { readonly _tag: "Cancel"; readonly consumerTag: string }

/** `basic.consume`. */
export interface ConsumeRequest {
  readonly _tag: "Consume"
  readonly queue: string
  readonly consumerTag: string
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly arguments: Headers
}

/** A method that the broker does not answer, or answers with an event of its own. */
export type Command =
  | PublishCommand
  | { readonly _tag: "Ack"; readonly deliveryTag: number; readonly multiple: boolean }
  | { readonly _tag: "Nack"; readonly deliveryTag: number; readonly multiple: boolean; readonly requeue: boolean }
  | { readonly _tag: "Reject"; readonly deliveryTag: number; readonly requeue: boolean }

/** `basic.publish` with its content. */
export interface PublishCommand {
  readonly _tag: "Publish"
  readonly message: WireMessage
}

/** What the broker sends on a channel without being asked. */
export type ChannelEvent =
  | { readonly _tag: "Confirm"; readonly deliveryTag: number; readonly multiple: boolean; readonly ack: boolean }
  | { readonly _tag: "Return"; readonly returned: DriverReturn }
  | { readonly _tag: "Deliver"; readonly consumerTag: string; readonly delivery: DriverDelivery }
  | { readonly _tag: "CancelConsumer"; readonly consumerTag: string }
  | { readonly _tag: "Drain" }

/** Class and method numbers of AMQP 0-9-1, as `channel.close` and `connection.close` carry them. */
export interface MethodId {
  readonly name: string
  readonly classId: number
  readonly methodId: number
}

const method = (name: string, classId: number, methodId: number): MethodId => ({ name, classId, methodId })

/** The numbers of a fault that no method caused. */
export const noMethod = method("none", 0, 0)

/** The method that carries each request and command. */
export const methods: Record<Request["_tag"] | Command["_tag"], MethodId> = {
  OpenChannel: method("channel.open", 20, 10),
  CloseChannel: method("channel.close", 20, 40),
  DeclareExchange: method("exchange.declare", 40, 10),
  CheckExchange: method("exchange.declare", 40, 10),
  DeleteExchange: method("exchange.delete", 40, 20),
  BindExchange: method("exchange.bind", 40, 30),
  UnbindExchange: method("exchange.unbind", 40, 40),
  DeclareQueue: method("queue.declare", 50, 10),
  CheckQueue: method("queue.declare", 50, 10),
  BindQueue: method("queue.bind", 50, 20),
  PurgeQueue: method("queue.purge", 50, 30),
  DeleteQueue: method("queue.delete", 50, 40),
  UnbindQueue: method("queue.unbind", 50, 50),
  Prefetch: method("basic.qos", 60, 10),
  Consume: method("basic.consume", 60, 20),
  Cancel: method("basic.cancel", 60, 30),
  Publish: method("basic.publish", 60, 40),
  Get: method("basic.get", 60, 70),
  Ack: method("basic.ack", 60, 80),
  Reject: method("basic.reject", 60, 90),
  Nack: method("basic.nack", 60, 120)
}
