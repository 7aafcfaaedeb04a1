/**
 * A session: one established connection from open to close. What it hands out lives in its scope at the longest, and
 * every operation that waits for the broker is bounded here, in one place, for every driver.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { DriverChannel, DriverChannelEvents, DriverConnection } from "../../AmqpDriver.ts"
import { noChannelEvents } from "../../AmqpDriver.ts"
import type { Address } from "../../AmqpError.ts"
import { AmqpError, OperationTimeout } from "../../AmqpError.ts"
import { DeclaredQueues } from "./declaredQueues.ts"
import type { Goodbyes } from "./goodbyes.ts"
import type { Lifeline } from "./lifeline.ts"
import { isHangUp } from "./refusals.ts"
import { Trial } from "./trial.ts"

const timedOut = (operation: string, deadline: Duration.Duration): AmqpError =>
  new AmqpError({ operation, reason: new OperationTimeout({ millis: Duration.toMillis(deadline) }) })

/** One established connection. */
export class Session {
  /** Counts the sessions of a connection service; no two have the same. */
  readonly epoch: number
  readonly address: Address
  readonly vhost: string
  readonly username: string
  /** The name that the broker shows. */
  readonly connectionName: string
  readonly heartbeat: Duration.Duration
  readonly scope: Scope.Scope
  readonly driver: DriverConnection
  readonly #lifeline: Lifeline
  readonly #operationTimeout: Duration.Duration
  readonly #goodbyes: Goodbyes
  /** The queues that topologies have declared on this session. */
  readonly queues = new DeclaredQueues()
  /** How many operations wait for the broker's answer: any of them may be what the broker closes the connection for. */
  asking = 0
  /**
   * The broker ended the session while messages or single operations were under way that may be why. They fail for it,
   * and nobody else pays: neither the retry budget, nor a setup that was under way.
   */
  isBlamedOnUse = false
  #operations = 0
  /** Whose turn it is to be alone, of the messages of all publishers that may have this session ended. */
  readonly trial = new Trial()

  constructor(options: {
    readonly epoch: number
    readonly address: Address
    readonly vhost: string
    readonly username: string
    readonly connectionName: string
    readonly heartbeat: Duration.Duration
    readonly scope: Scope.Scope
    readonly driver: DriverConnection
    readonly lifeline: Lifeline
    readonly operationTimeout: Duration.Duration
    readonly goodbyes: Goodbyes
  }) {
    this.epoch = options.epoch
    this.address = options.address
    this.vhost = options.vhost
    this.username = options.username
    this.connectionName = options.connectionName
    this.heartbeat = options.heartbeat
    this.scope = options.scope
    this.driver = options.driver
    this.#lifeline = options.lifeline
    this.#operationTimeout = options.operationTimeout
    this.#goodbyes = options.goodbyes
  }

  get isAlive(): boolean {
    return this.ended === undefined
  }

  /** Why the session ended, once it has. */
  get ended(): AmqpError | undefined {
    return this.#lifeline.ended
  }

  /** Runs what the broker may end the session for, and what nobody repeats by itself. */
  single<A, E, R>(operation: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      this.#operations++
      return Effect.ensuring(
        operation,
        Effect.sync(() => {
          this.#operations--
        })
      )
    })
  }

  /** Hears of the end inside the driver's callback. */
  noteEnd(): void {
    if (this.#operations > 0 && this.asking > 0 && isHangUp(this.ended!)) this.isBlamedOnUse = true
  }

  /** Waits for the session to end. */
  get over(): Effect.Effect<void> {
    return this.#lifeline.over
  }

  /** Why the broker stopped reading, while it does. */
  get blocked(): string | undefined {
    return this.#lifeline.blocked
  }

  /** Hear of the end of an alarm, until the returned function is called. */
  onUnblocked(listener: () => void): () => void {
    return this.#lifeline.whenUnblocked(listener)
  }

  /**
   * Runs an operation under the operation deadline. A broker that does not answer in time has its socket destroyed,
   * unless it said that it is blocked: then it is known why it does not answer, and it will.
   */
  bounded<A, R>(operation: string, effect: Effect.Effect<A, AmqpError, R>): Effect.Effect<A, AmqpError, R> {
    return Effect.suspend(() => {
      this.asking++
      return Effect.ensuring(
        Effect.timeoutOrElse(effect, {
          duration: this.#operationTimeout,
          orElse: () => Effect.fail(this.#expire(operation, this.#operationTimeout))
        }),
        Effect.sync(() => {
          this.asking--
        })
      )
    })
  }

  /**
   * Waits for an event that the broker owes no answer to: the deadline is the same, and missing it is not the broker's
   * fault.
   */
  waited<A, R>(operation: string, effect: Effect.Effect<A, AmqpError, R>): Effect.Effect<A, AmqpError, R> {
    return Effect.timeoutOrElse(effect, {
      duration: this.#operationTimeout,
      orElse: () => Effect.fail(timedOut(operation, this.#operationTimeout))
    })
  }

  #expire(operation: string, deadline: Duration.Duration): AmqpError {
    const error = timedOut(operation, deadline)
    if (this.blocked === undefined) this.driver.destroyUnsafe(error)
    return error
  }

  /** Opens a channel that is closed, in order and within the close deadline, when the scope ends. */
  openChannel(
    options: { readonly confirm: boolean },
    events: DriverChannelEvents
  ): Effect.Effect<DriverChannel, AmqpError, Scope.Scope> {
    return Effect.acquireRelease(
      this.bounded("openChannel", this.driver.openChannel(options, events)),
      (channel) => this.#closeChannel(channel),
      { interruptible: true }
    )
  }

  #closeChannel(channel: DriverChannel): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.isAlive && channel.isOpen()
        ? this.#goodbyes.say(channel.close, () => void this.#expire("closeChannel", this.#goodbyes.timeout))
        : Effect.void
    )
  }

  /**
   * Runs operations on a channel of their own, so that a refusal, which closes the channel, costs nobody else theirs.
   */
  withChannel<A, R>(
    operation: string,
    use: (channel: DriverChannel) => Effect.Effect<A, AmqpError, R>
  ): Effect.Effect<A, AmqpError, R> {
    return Effect.scoped(
      Effect.flatMap(
        this.openChannel({ confirm: false }, noChannelEvents),
        (channel) => this.bounded(operation, use(channel))
      )
    )
  }
}
