import type { Channel, Message as AmqplibMessage } from "amqplib"
import type { DriverChannelEvents } from "../../AmqpDriver.ts"
import * as AmqpError from "../../AmqpError.ts"
import { channelError, invalidReason } from "./errors.ts"
import type { Confirm } from "./internals.ts"
import { cancelOnce, onConfirm } from "./internals.ts"

/**
 * One channel from before its first frame to its end. Nothing else knows that a channel has ended, and why.
 */
export class ChannelState {
  readonly confirm: boolean
  readonly #events: DriverChannelEvents
  readonly #siblings: Set<ChannelState>
  readonly #destroy: (error: AmqpError.AmqpError) => void
  published = 0
  writable = true
  /** True when whoever opened the channel did not wait. Its events are told nothing. */
  isAbandoned = false
  #lastError: unknown
  #closedWith: AmqpError.AmqpError | undefined

  constructor(
    confirm: boolean,
    events: DriverChannelEvents,
    siblings: Set<ChannelState>,
    destroy: (error: AmqpError.AmqpError) => void
  ) {
    this.confirm = confirm
    this.#events = events
    this.#siblings = siblings
    this.#destroy = destroy
    siblings.add(this)
  }

  get isOpen(): boolean {
    return this.#closedWith === undefined
  }

  attach(channel: Channel): void {
    channel.on("error", (error: unknown) => {
      this.#lastError = error
    })
    channel.on("close", () => {
      // When the connection has ended, its own close event follows in this tick and knows the cause.
      if (this.#lastError !== undefined) this.finish(this.errorOf("channel", this.#lastError))
      else queueMicrotask(() => this.finish(closedError("channel")))
    })
    channel.on("drain", () => {
      this.writable = true
      if (this.isOpen) this.#events.onDrain()
    })
    channel.on("return", (message: AmqplibMessage) => {
      const fields = message.fields as unknown as { readonly replyCode: number; readonly replyText: string }
      this.#events.onReturn({
        replyCode: fields.replyCode,
        replyText: fields.replyText,
        exchange: message.fields.exchange,
        routingKey: message.fields.routingKey,
        messageId: message.properties.messageId as string | undefined
      })
    })
    onConfirm(channel, (confirm, ack) => this.#confirmed(confirm, ack))
    cancelOnce(channel)
  }

  #confirmed({ deliveryTag, multiple }: Confirm, ack: boolean): void {
    if (!(deliveryTag > 0 && deliveryTag <= this.published)) {
      this.#destroy(
        new AmqpError.AmqpError({
          operation: "connection",
          reason: new AmqpError.ProtocolFailed({
            detail: `the broker confirmed the delivery tag ${deliveryTag}, and only ${this.published} were published`
          })
        })
      )
    } else if (this.isOpen) {
      this.#events.onConfirm(deliveryTag, multiple, ack)
    }
  }

  finish(error: AmqpError.AmqpError): void {
    if (this.#closedWith !== undefined) return
    this.#closedWith = error
    this.#siblings.delete(this)
    if (!this.isAbandoned) this.#events.onClose(error)
  }

  /** Makes the error of an operation: from its own refusal, else from what closed the channel or the connection. */
  errorOf(operation: string, error: unknown): AmqpError.AmqpError {
    return channelError(operation, error) ??
      (error instanceof TypeError || error instanceof RangeError
        ? new AmqpError.AmqpError({ operation, reason: invalidReason(error) })
        : new AmqpError.AmqpError({ operation, reason: (this.#closedWith ?? closedError(operation)).reason }))
  }

  closeError(operation: string): AmqpError.AmqpError {
    return new AmqpError.AmqpError({ operation, reason: (this.#closedWith ?? closedError(operation)).reason })
  }
}

const closedError = (operation: string): AmqpError.AmqpError =>
  new AmqpError.AmqpError({
    operation,
    reason: new AmqpError.ChannelClosed({ replyCode: undefined, replyText: "it is closed" })
  })
