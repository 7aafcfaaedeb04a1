/**
 * What clients and servers of a service put around the messages of effect/rpc.
 *
 * A message is one AMQP message: its body is what `RpcSerialization` makes of it, `correlationId` the id of the request,
 * and `replyTo` where its sender is reached: the reply queue of a client, the control queue of a server. A message with a
 * `type` is the transport's own, and has no body for effect/rpc.
 */
import type { Delivery } from "effect-amqp/AmqpDelivery"
import type { Headers } from "effect-amqp/AmqpMessage"
import * as Predicate from "effect/Predicate"
import type { RpcSerialization } from "effect/rpc/RpcSerialization"

/** The absolute deadline of a request, in milliseconds since 1970. */
export const deadlineHeader = "x-rpc-deadline"

/**
 * Which time it is that a request is taken, counted from 1. Only quorum queues count that: on others the server that takes
 * what was taken before puts a copy with the next number into the queue.
 */
export const attemptHeader = "x-rpc-attempt"

type Properties = Pick<Delivery, "properties">

/** Reads the headers of a request. Headers of other clients that cannot be read are none. */
export const headersOf = ({ properties }: Properties): Headers => {
  try {
    return properties.headers ?? {}
  } catch {
    return {}
  }
}

const numberIn = (request: Properties, header: string): number | undefined => {
  const value = headersOf(request)[header]
  return typeof value === "number" ? value : undefined
}

/** Reads the deadline of a request. */
export const deadlineOf = (request: Properties): number | undefined => numberIn(request, deadlineHeader)

/** Reads which time it is that a request is taken, as far as it tells. */
export const attemptOf = (request: Properties): number =>
  Math.max(numberIn(request, attemptHeader) ?? 1, 1 + (numberIn(request, "x-delivery-count") ?? 0))

/**
 * The transport's own messages:
 *
 * - `ping`: whoever cannot be sent this is gone; a server's names the calls that it has, one a line;
 * - `taken`: the server has acknowledged the request, which goes to no other server any more;
 * - `unknown`: the server gives up a call that goes to no other server;
 * - `poison`: the request was taken as often as it may be; the body says how often;
 * - `tooLarge`, `unreadable`: the answer cannot be sent, the request cannot be read; the body says why.
 */
export type OwnType = "ping" | "taken" | "unknown" | "poison" | "tooLarge" | "unreadable"

/** Reads and writes the messages of effect/rpc. */
export interface Coding {
  readonly contentType: string
  readonly encode: (message: unknown) => Uint8Array | undefined
  /** Throws an error that says what is wrong with the body. */
  readonly decode: (delivery: Delivery) => ReadonlyArray<unknown>
}

const utf8 = new TextEncoder()

/** Makes text into bytes. */
export const bytes = (text: string): Uint8Array => utf8.encode(text)

const hasTag = (message: unknown): boolean => Predicate.hasProperty(message, "_tag")

/** Makes the coding of a serialization. */
export const coding = (serialization: RpcSerialization["Service"]): Coding => {
  const { contentType, includesFraming } = serialization
  const parser = serialization.makeUnsafe()
  return {
    contentType,
    encode(message) {
      const encoded = parser.encode(message)
      return typeof encoded === "string" ? utf8.encode(encoded) : encoded
    },
    decode({ body, properties }) {
      if (properties.contentType !== contentType) {
        throw new Error(`it is "${properties.contentType ?? "of no type"}", and "${contentType}" is expected`)
      }
      // A parser with framing keeps what is not complete, and the next message is somebody else's.
      const messages = (includesFraming ? serialization.makeUnsafe() : parser).decode(body)
      if (messages.length > 0 && messages.every(hasTag)) return messages
      throw new Error("it holds no message of effect/rpc")
    }
  }
}
