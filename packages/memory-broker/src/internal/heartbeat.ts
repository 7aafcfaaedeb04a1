/**
 * Heartbeats, of which none is sent here: only that the sides of a connection give each other up without them.
 *
 * @see https://www.rabbitmq.com/docs/heartbeats
 */
import { AmqpError, ConnectionLost } from "effect-amqp/AmqpError"
import type { Timer, Timers } from "./timers.ts"

/** What RabbitMQ asks for, in seconds. The smaller one counts, and 0 of a client leaves it at this. */
const ofBroker = 60

/** What a client is told that has given up. */
export const noHeartbeat = (): AmqpError =>
  new AmqpError({
    operation: "connection",
    reason: new ConnectionLost({ replyCode: undefined, replyText: "no heartbeat came from the broker" })
  })

/** Counts the looks of both sides at a connection on which nothing comes. */
export class Silence {
  readonly #timers: Timers
  readonly #interval: number
  readonly #connectedAt: number
  #timer: Timer | undefined

  /** `heartbeat` is what the client asks for, in seconds. */
  constructor(timers: Timers, heartbeat: number) {
    this.#timers = timers
    this.#interval = 1000 * (heartbeat === 0 ? ofBroker : Math.min(heartbeat, ofBroker))
    this.#connectedAt = timers.now
  }

  /**
   * Nothing comes from now on. RabbitMQ and its clients look once in each heartbeat, and give up when they have seen
   * nothing new twice: two to three heartbeats after the last byte.
   */
  begin(giveUp: () => void): void {
    if (this.#timer !== undefined) return
    const looks = Math.floor((this.#timers.now - this.#connectedAt) / this.#interval)
    this.#timer = this.#timers.schedule(this.#connectedAt + (looks + 3) * this.#interval, giveUp)
  }

  end(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
