/**
 * A message that is arriving on a channel: begun by a method, then described by a header, then as much body as the
 * header announces. When it is whole it is what a driver hands over, so that a message costs one object.
 */
import type { DriverDelivery, DriverReturn, WireProperties } from "../../AmqpDriver.ts"
import { BodyAssembly } from "./bodyAssembly.ts"

const noBody = Buffer.alloc(0)
const noProperties: WireProperties = {}

/** A message as far as it has arrived. */
export class ArrivingMessage implements DriverDelivery {
  /** The method that began it. */
  readonly method: number
  consumerTag = ""
  deliveryTag = 0
  redelivered = false
  exchange = ""
  routingKey = ""
  replyCode = 0
  replyText = ""
  properties: WireProperties = noProperties
  body: Buffer = noBody
  /** What has to come next. */
  awaits: "header" | "body" = "header"
  /** How many bytes of the body have not come. */
  missing = 0
  #assembly: BodyAssembly | undefined = undefined

  constructor(method: number) {
    this.method = method
  }

  /** Takes what the header says. */
  describe(properties: WireProperties, size: number): void {
    this.properties = properties
    this.missing = size
    this.awaits = "body"
  }

  /** Takes a part of the body, which must not be longer than what is missing. */
  add(buffer: Buffer, from: number, to: number): void {
    const length = to - from
    if (this.#assembly === undefined) {
      if (length === this.missing) {
        // It lies in one piece, and need not be copied.
        this.body = buffer.subarray(from, to)
        this.missing = 0
        return
      }
      this.#assembly = new BodyAssembly(this.missing)
    }
    this.#assembly.add(buffer, from, to)
    this.missing -= length
    if (this.missing === 0) {
      this.body = this.#assembly.body
      this.#assembly = undefined
    }
  }
}

/** What a `basic.return` that has arrived says. */
export const returnOf = (message: ArrivingMessage): DriverReturn => ({
  replyCode: message.replyCode,
  replyText: message.replyText,
  exchange: message.exchange,
  routingKey: message.routingKey,
  messageId: message.properties.messageId
})
