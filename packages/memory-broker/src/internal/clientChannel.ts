/**
 * The client's end of a channel: who listens, who waits for an answer, and if the channel still lives.
 */
import type { DriverChannelEvents, DriverConsumerEvents } from "effect-amqp/AmqpDriver"
import { noChannelEvents } from "effect-amqp/AmqpDriver"
import { AmqpError } from "effect-amqp/AmqpError"
import type { Channel } from "./channel.ts"
import type { ChannelEvent } from "./frames.ts"

/** Somebody who waits for an answer. Once abandoned, the answer is undone instead of delivered. */
export interface Waiter {
  readonly operation: string
  readonly succeed: (value: unknown) => void
  readonly fail: (error: AmqpError) => void
  isAbandoned: boolean
}

/** Publishes that a client may have written and the broker not read, before the client is told to wait. */
const highWater = 2047

export class ClientChannel {
  readonly number: number
  readonly confirm: boolean
  readonly consumers = new Map<string, DriverConsumerEvents>()
  readonly waiters = new Set<Waiter>()
  #events: DriverChannelEvents
  published = 0
  /** Frames of publishes that the broker has not read. */
  #buffered = 0
  isFull = false
  state: "opening" | "open" | "closing" | "closed" = "opening"
  /** Why it is closed. */
  error: AmqpError | undefined
  /** The broker's end, once the broker has opened it. */
  server: Channel | undefined

  constructor(number: number, confirm: boolean, events: DriverChannelEvents) {
    this.number = number
    this.confirm = confirm
    this.#events = events
  }

  get isOpen(): boolean {
    return this.state === "open"
  }

  /** Counts a publish as written. */
  publishWritten(): void {
    if (++this.#buffered >= highWater) this.isFull = true
  }

  /** Counts a publish as read. Returns `true` if the client is to be told that it may write again. */
  publishRead(): boolean {
    this.#buffered--
    return this.isFull && this.#buffered === 0
  }

  /** Stops telling events. */
  mute(): void {
    this.#events = noChannelEvents
  }

  /** Tells an event. Returns `false` for a delivery whose consumer is not known here. */
  tell(event: ChannelEvent): boolean {
    if (this.state === "closed") return true
    switch (event._tag) {
      case "Confirm":
        this.#events.onConfirm(event.deliveryTag, event.multiple, event.ack)
        return true
      case "Return":
        this.#events.onReturn(event.returned)
        return true
      case "Deliver": {
        const consumer = this.consumers.get(event.consumerTag)
        consumer?.onDelivery(event.delivery)
        return consumer !== undefined
      }
      case "CancelConsumer": {
        const consumer = this.consumers.get(event.consumerTag)
        this.consumers.delete(event.consumerTag)
        consumer?.onCancel()
        return true
      }
      case "Drain":
        this.isFull = false
        this.#events.onDrain()
        return true
    }
  }

  /** Become closed, and tell nobody yet. */
  markClosed(error: AmqpError): void {
    this.state = "closed"
    this.error = error
    this.consumers.clear()
  }

  tellClosed(error: AmqpError): void {
    this.#events.onClose(error)
  }

  /** Fails everybody who waits for an answer. */
  failWaiters(error: AmqpError): void {
    for (const waiter of this.waiters) {
      this.waiters.delete(waiter)
      if (!waiter.isAbandoned) waiter.fail(new AmqpError({ operation: waiter.operation, reason: error.reason }))
    }
  }
}
