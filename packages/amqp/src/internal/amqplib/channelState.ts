/**
 * The state of one channel, shared by its operations, the frame reader and amqplib's events.
 */
import type { Channel } from "amqplib"
import type { DriverChannelEvents, DriverConsumerEvents, DriverDelivery, DriverReturn } from "../../AmqpDriver.ts"
import * as AmqpError from "../../AmqpError.ts"
import type { FrameWriter } from "../wire/frameWriter.ts"
import { WireError } from "../wire/WireError.ts"
import { channelError, invalidReason } from "./errors.ts"
import type { PrivateChannel } from "./internals.ts"
import { privateOf } from "./internals.ts"

/** A consumer from before its `basic.consume` is written. */
type Consumer =
  | { readonly _tag: "Active"; readonly noAck: boolean; readonly events: DriverConsumerEvents }
  /**
   * Cancelled by the broker. RabbitMQ 4.3 cancels a consumer once for each message that is not acknowledged in time,
   * and delivers to it again when all of them are settled: then it is cancelled from here, and the message given back.
   */
  | { readonly _tag: "Cancelled"; readonly noAck: boolean }
  /** Cancelled from here. Deliveries that still come for it are given back. */
  | { readonly _tag: "Over"; readonly noAck: boolean }

// So many consumers that have ended are remembered.
const maxEnded = 256

/**
 * One channel from before its first frame to its end. Nothing else knows that a channel has ended, and why.
 */
export class ChannelState {
  readonly confirm: boolean
  readonly writer: FrameWriter
  readonly #events: DriverChannelEvents
  readonly #siblings: Set<ChannelState>
  readonly #consumers = new Map<string, Consumer>()
  number = 0
  published = 0
  /** True when the opener of the channel did not wait. The events of the channel are told nothing. */
  isAbandoned = false
  /** True from when nothing may be written to it any more: its close was written, or has come. */
  isClosing = false
  #channel: (Channel & PrivateChannel) | undefined
  #lastError: unknown
  #closedWith: AmqpError.AmqpError | undefined

  constructor(confirm: boolean, events: DriverChannelEvents, siblings: Set<ChannelState>, writer: FrameWriter) {
    this.confirm = confirm
    this.writer = writer
    this.#events = events
    this.#siblings = siblings
    siblings.add(this)
  }

  get isOpen(): boolean {
    return this.#closedWith === undefined
  }

  /** True when frames may be written to it. */
  get takesFrames(): boolean {
    return this.#closedWith === undefined && !this.isClosing
  }

  /** True when an answer to one of amqplib's methods is to come. */
  get isAwaitingReply(): boolean {
    return this.#channel?.reply !== null
  }

  attach(channel: Channel, number: number): void {
    this.number = number
    const internal = privateOf(channel)
    this.#channel = internal
    const closeBecause = internal.closeBecause.bind(internal)
    internal.closeBecause = (...args) => {
      closeBecause(...args)
      this.isClosing = true
    }
    channel.on("error", (error: unknown) => {
      this.#lastError = error
    })
    channel.on("close", () => {
      this.isClosing = true
      // When the connection has ended, its own close event follows in this tick and knows the cause.
      if (this.#lastError !== undefined) this.finish(this.errorOf("channel", this.#lastError))
      else queueMicrotask(() => this.finish(closedError("channel")))
    })
  }

  /** Registers a consumer, before the broker can know it. */
  consumes(consumerTag: string, noAck: boolean, events: DriverConsumerEvents): void {
    this.#consumers.set(consumerTag, { _tag: "Active", noAck, events })
  }

  /** Forgets a consumer that the broker has refused. */
  forget(consumerTag: string): void {
    this.#consumers.delete(consumerTag)
  }

  /** Is told that a consumer was cancelled from here. */
  ended(consumerTag: string): void {
    this.#end(consumerTag, "Over")
  }

  #end(consumerTag: string, how: "Cancelled" | "Over"): void {
    const noAck = this.#consumers.get(consumerTag)?.noAck === true
    // Behind the others, so that those that ended first are found first.
    this.#consumers.delete(consumerTag)
    this.#consumers.set(consumerTag, { _tag: how, noAck })
    let ended = 0
    for (const { _tag } of this.#consumers.values()) if (_tag !== "Active") ended++
    for (const [tag, { _tag }] of this.#consumers) {
      if (ended <= maxEnded) break
      if (_tag !== "Active") {
        this.#consumers.delete(tag)
        ended--
      }
    }
  }

  delivered(consumerTag: string, delivery: DriverDelivery): void {
    const consumer = this.#consumers.get(consumerTag)
    if (consumer === undefined) {
      throw new WireError(`a delivery on channel ${this.number} for the consumer "${consumerTag}", which never was`)
    }
    // It goes back to its queue with the channel.
    if (!this.takesFrames) return
    if (consumer._tag === "Active") return consumer.events.onDelivery(delivery)
    if (consumer._tag === "Cancelled") {
      this.#end(consumerTag, "Over")
      this.#channel?.cancel(consumerTag).catch(() => {})
    }
    if (!consumer.noAck) this.writer.nack(this.number, delivery.deliveryTag, false, true)
  }

  /** Is told of a `basic.cancel`, which the broker may send more than once for one consumer. */
  cancelled(consumerTag: string): void {
    const consumer = this.#consumers.get(consumerTag)
    if (consumer?._tag !== "Active") return
    this.#end(consumerTag, "Cancelled")
    if (this.takesFrames) consumer.events.onCancel()
  }

  returned(returned: DriverReturn): void {
    if (this.isOpen && !this.isAbandoned) this.#events.onReturn(returned)
  }

  confirmed(deliveryTag: number, multiple: boolean, ack: boolean): void {
    if (!(this.confirm && deliveryTag > 0 && deliveryTag <= this.published)) {
      throw new WireError(
        `a basic.${ack ? "ack" : "nack"} of the delivery tag ${deliveryTag} on channel ${this.number}, where ` +
          (this.confirm ? `${this.published} messages were published` : "no confirms were asked for")
      )
    }
    if (this.isOpen && !this.isAbandoned) this.#events.onConfirm(deliveryTag, multiple, ack)
  }

  drained(): void {
    if (this.takesFrames && !this.isAbandoned) this.#events.onDrain()
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
