/**
 * Keeps a consumer attached to its queue. Prefetch and `basic.consume` are part of opening its channel, so that a lost
 * connection, a closed channel and a cancel by the broker all lead back the same way.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { AmqpConnection, ConsumerHealth } from "../../AmqpConnection.ts"
import { Delivery } from "../../AmqpDelivery.ts"
import type { Arguments, DriverChannel } from "../../AmqpDriver.ts"
import { noChannelEvents } from "../../AmqpDriver.ts"
import { AmqpError, ConsumerCancelled } from "../../AmqpError.ts"
import { isRabbitMqSince } from "../connection/brokerVersion.ts"
import { keep } from "../connection/keptChannel.ts"
import { healingMillis } from "../connection/patience.ts"
import type { QueueLike } from "../connection/queueName.ts"
import { labelOf, nameAtEachAttach } from "../connection/queueName.ts"
import type { Session } from "../connection/session.ts"
import { Acknowledgements } from "../delivery/acknowledgements.ts"
import * as WakeLater from "../wakeLater.ts"

/** What to consume, and how. */
export interface AttachmentOptions {
  readonly queue: QueueLike
  readonly prefetch: number
  readonly exclusive: boolean
  readonly arguments: Arguments
}

/** Gets the deliveries; called inside driver callbacks, but for `onOpened`. */
export interface AttachmentListener {
  /** Acknowledges what is delivered from now on. */
  readonly onOpened: (acknowledgements: Acknowledgements) => void
  readonly onDelivery: (delivery: Delivery) => void
  /** Everything delivered so far and not acknowledged goes back to the queue, and will come again. */
  readonly onDetached: () => void
  /** An acknowledgement came after its channel was gone, and was dropped; `wasPromised` if it had been taken before. */
  readonly onStale: (wasPromised: boolean) => void
}

/** A consumer that is kept attached. */
export interface Attachment {
  readonly health: () => ConsumerHealth
  /** Fails when the consumer cannot come back. */
  readonly ended: Effect.Effect<never, AmqpError>
  /** Detaches for good: asks the broker to stop, and waits until it has. Nothing is delivered after that. */
  readonly cancel: Effect.Effect<void>
}

type State =
  | { readonly _tag: "Attached"; readonly tag: string; readonly channel: DriverChannel; readonly session: Session }
  | { readonly _tag: "Detached"; readonly cause: AmqpError | undefined }
  | { readonly _tag: "Ended"; readonly cause: AmqpError }

const consumerTags = crypto.randomUUID()
let consumerCount = 0

/** Consumes until the scope ends; returns when the broker has the consumer, and fails if the broker refuses it. */
export const attach = Effect.fnUntraced(function*(
  connection: AmqpConnection,
  options: AttachmentOptions,
  listener: AttachmentListener
): Effect.fn.Return<Attachment, AmqpError, Scope.Scope> {
  const clock = yield* Clock.Clock
  const wakeLater = yield* WakeLater.make
  const queue = labelOf(options.queue)
  const nameOn = nameAtEachAttach(options.queue)
  const ended = Deferred.makeUnsafe<never, AmqpError>()
  let state: State = { _tag: "Detached", cause: undefined }
  let since = clock.currentTimeMillisUnsafe()
  let isCancelled = false
  /** The present channel has lost its consumer. */
  let isCancelledByBroker = false

  const become = (next: State): void => {
    if (state._tag === "Ended") return
    if (state._tag !== next._tag) since = clock.currentTimeMillisUnsafe()
    state = next
  }

  const detach = (cause: AmqpError): void => {
    // Deliveries may come before the consumer counts as attached.
    listener.onDetached()
    become({ _tag: "Detached", cause })
  }

  const health = (): ConsumerHealth =>
    state._tag === "Attached"
      ? { _tag: "Attached", queue, since: new Date(since), epoch: state.session.epoch }
      : { _tag: "Detached", queue, since: new Date(since), cause: state.cause, ended: state._tag === "Ended" }

  const consume = Effect.fnUntraced(function*(
    channel: DriverChannel,
    session: Session
  ): Effect.fn.Return<void, AmqpError, Scope.Scope> {
    if (isCancelled) return
    const name = yield* nameOn(session)
    yield* session.bounded("prefetch", channel.prefetch(options.prefetch))
    const cancelled = Deferred.makeUnsafe<void>()
    const acknowledgements = new Acknowledgements(channel, session, listener.onStale)
    listener.onOpened(acknowledgements)
    const tag = `${consumerTags}-${++consumerCount}`
    yield* session.bounded(
      `consume ${queue}`,
      channel.consume({
        queue: name,
        consumerTag: tag,
        noAck: false,
        exclusive: options.exclusive,
        arguments: options.arguments
      }, {
        onDelivery(delivery) {
          acknowledgements.delivered(delivery.deliveryTag)
          listener.onDelivery(new Delivery(delivery, session.epoch, acknowledgements, queue, name))
        },
        onCancel() {
          isCancelledByBroker = true
          const ackTimeout = isRabbitMqSince(session.driver, 4, 3) && acknowledgements.isAwaited
          detach(new AmqpError({ operation: `consume ${queue}`, reason: new ConsumerCancelled({ queue, ackTimeout }) }))
          wakeLater(() => Deferred.doneUnsafe(cancelled, Effect.void))
        }
      })
    )
    if (isCancelled) {
      // Cancelled while it was on its way to the broker, which takes back what it has delivered already.
      yield* Effect.ignore(session.bounded("closeChannel", channel.close))
      return
    }
    if (!isCancelledByBroker && channel.isOpen()) become({ _tag: "Attached", tag, channel, session })
    yield* Effect.addFinalizer(() =>
      state._tag === "Detached"
        ? Effect.logWarning("AMQP consumer detached", { queue, reason: state.cause?.message })
        : Effect.void
    )
    yield* Effect.logInfo("AMQP consumer attached", { queue, epoch: session.epoch })
    // The channel outlives a cancel by the broker, and nothing comes on it any more: it makes room for the next one.
    yield* Deferred.await(cancelled).pipe(
      Effect.andThen(session.bounded("closeChannel", channel.close)),
      Effect.ignore,
      Effect.forkScoped({ startImmediately: true })
    )
  })

  yield* connection.watchConsumer(health, Deferred.await(ended))
  yield* keep(connection, {
    role: "consume",
    confirm: false,
    events() {
      isCancelledByBroker = false
      return {
        ...noChannelEvents,
        onClose(error) {
          // After a cancel by the broker it was we who closed the channel, and the cancel is the cause.
          if (!isCancelledByBroker) detach(error)
        }
      }
    },
    onOpen: consume,
    mayHeal(error, waited, session) {
      become({ _tag: "Detached", cause: error })
      const reason = error.reason
      return reason._tag === "ResourceLocked" || (reason._tag === "NotFound" && !reason.nodeDown)
        ? waited < healingMillis(session.heartbeat)
        : error.isRetryable
    },
    onFailed(error) {
      become({ _tag: "Ended", cause: error })
      Deferred.doneUnsafe(ended, Effect.fail(error))
    }
  })

  return {
    health,
    ended: Deferred.await(ended),
    cancel: Effect.suspend(() => {
      isCancelled = true
      if (state._tag !== "Attached") return Effect.void
      const { channel, session, tag } = state
      return Effect.ignore(session.bounded(`cancel ${queue}`, channel.cancel(tag)))
    })
  }
})
