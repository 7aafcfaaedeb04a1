/**
 * What the driver tells of one connection, from before its handshake to its end. The driver tells it to nobody else,
 * and an end is passed on from here only.
 */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { DriverConnectionEvents } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import type { WakeLater } from "../wakeLater.ts"

/** The text of a resource alarm that began, or nothing for its end. */
type Alarm = string | undefined

/** The events of one connection. */
export class Lifeline implements DriverConnectionEvents {
  readonly #wakeLater: WakeLater
  readonly #over = Deferred.makeUnsafe<void>()
  readonly #alarms: Queue.Queue<Alarm, Cause.Done>
  readonly #unblocked = new Set<() => void>()
  #onEnded: (() => void) | undefined
  /** Why the broker stopped reading, while it does. */
  blocked: string | undefined
  /** Why the connection ended, once it has. */
  ended: AmqpError | undefined

  constructor(wakeLater: WakeLater, alarms: Queue.Queue<Alarm, Cause.Done>) {
    this.#wakeLater = wakeLater
    this.#alarms = alarms
  }

  readonly onBlocked = (reason: string): void => {
    this.blocked = reason
    this.#wakeLater(() => Queue.offerUnsafe(this.#alarms, reason))
  }

  readonly onUnblocked = (): void => {
    this.blocked = undefined
    for (const listener of this.#unblocked) listener()
    this.#wakeLater(() => Queue.offerUnsafe(this.#alarms, undefined))
  }

  readonly onClose = (error: AmqpError): void => {
    this.ended = error
    this.#onEnded?.()
    this.#wakeLater(() => {
      Deferred.doneUnsafe(this.#over, Effect.void)
      Queue.endUnsafe(this.#alarms)
    })
  }

  /** Waits for the end. */
  readonly over: Effect.Effect<void> = Deferred.await(this.#over)

  /** Every alarm that begins or ends, until the connection does. */
  get alarms(): Stream.Stream<Alarm> {
    return Stream.fromQueue(this.#alarms)
  }

  /** Be told of the end inside the driver's callback. */
  whenEnded(listener: () => void): void {
    this.#onEnded = listener
  }

  /** Hear of the end of an alarm, until the returned function is called. */
  whenUnblocked(listener: () => void): () => void {
    this.#unblocked.add(listener)
    return () => this.#unblocked.delete(listener)
  }
}

/** Makes the events of a connection that is to be dialled. */
export const make = (wakeLater: WakeLater): Effect.Effect<Lifeline> =>
  Effect.map(Queue.unbounded<Alarm, Cause.Done>(), (alarms) => new Lifeline(wakeLater, alarms))
