/**
 * Keeps a consumer attached to its queue. Prefetch and `basic.consume` are part of opening its channel, so that a lost
 * connection, a closed channel and a cancel by the broker all lead back the same way.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { AmqpConnection, ConsumerHealth } from "../../AmqpConnection.ts"
import { Delivery } from "../../AmqpDelivery.ts"
import type { Arguments, DriverChannel } from "../../AmqpDriver.ts"
import { noChannelEvents } from "../../AmqpDriver.ts"
import { AmqpError, ConsumerCancelled } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"
import { isRabbitMqSince } from "../connection/brokerVersion.ts"
import { keep } from "../connection/keptChannel.ts"
import { healingMillis } from "../connection/patience.ts"
import type { QueueLike } from "../connection/queueName.ts"
import { labelOf, nameAtEachAttach } from "../connection/queueName.ts"
import { typeOn } from "../connection/queueTypes.ts"
import type { Session } from "../connection/session.ts"
import { Acknowledgements } from "../delivery/acknowledgements.ts"
import * as WakeLater from "../wakeLater.ts"
import type { QueueTraits } from "./traits.ts"
import { countsUnbegun, deliveryLimitOn, hasStreamOffset } from "./traits.ts"

/** What to consume, and how. */
export interface AttachmentOptions {
  readonly queue: QueueLike
  readonly traits: QueueTraits
  /** The prefetch that the user asks for. */
  readonly prefetch: number | undefined
  /** Messages that are handled at the same time. */
  readonly atOnce: number
  readonly exclusive: boolean | "standby"
  readonly noAck: boolean
  readonly consumerTag: string | undefined
  /** Asked at each attach. */
  readonly arguments: (session: Session) => Effect.Effect<Arguments, AmqpError>
  /** Stops without a cancel, so that no other consumer gets newer messages before older ones are back. */
  readonly keepOrder: boolean
  /** How long a queue that is gone is waited for. */
  readonly missingQueueTimeout: Duration.Duration
}

/** Gets the deliveries; called inside driver callbacks, but for `onOpened`. */
export interface AttachmentListener {
  /** Acknowledges what is delivered from now on. */
  readonly onOpened: (acknowledgements: Acknowledgements, session: Session) => void
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
  /**
   * Detaches for good. Asks the broker to stop and waits until it has, so that nothing is delivered after that; with
   * `keepOrder` only nothing attaches again, and the end of the scope closes the channel.
   */
  readonly stop: Effect.Effect<void>
  /** Detaches until {@link resume}. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
}

type State =
  | { readonly _tag: "Attached"; readonly tag: string; readonly channel: DriverChannel; readonly session: Session }
  | { readonly _tag: "Detached"; readonly cause: AmqpError | undefined }
  | { readonly _tag: "Paused" }
  | { readonly _tag: "Ended"; readonly cause: AmqpError }

/** An open channel, on which the consumer is or may be. */
interface Opened {
  readonly channel: DriverChannel
  readonly session: Session
  readonly scope: Scope.Scope
  /** Those of the channel, also after a pause: what was delivered before it may still be handled. */
  readonly acknowledgements: Acknowledgements
}

/** Refuses to read a stream without acknowledgements, for which RabbitMQ ends the connection. */
export const acknowledgesStreams = (): AmqpError =>
  invalid("noAck", "a stream is read with acknowledgements; leave it out")

const maxPrefetch = 65535
const consumerTags = crypto.randomUUID()
let consumerCount = 0

/** The unacknowledged messages that are out on a session: the user's number, or what costs no message its deliveries. */
export const prefetchOn = (
  session: Session,
  { atOnce, keepOrder, prefetch, queue, traits }: Pick<
    AttachmentOptions,
    "queue" | "traits" | "prefetch" | "atOnce" | "keepOrder"
  >
): number => {
  if (prefetch !== undefined) return prefetch
  const isReplicated = traits.type === "quorum" || traits.type === "unknown"
  // Without a cancel, what is nacked at the end comes back at once, and counts when the channel closes.
  return countsUnbegun(session, traits, typeof queue === "string") || (keepOrder && isReplicated)
    ? atOnce
    : Math.min(Math.max(100, atOnce * 2), maxPrefetch)
}

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
  const { traits } = options
  const ended = Deferred.makeUnsafe<never, AmqpError>()
  let state: State = { _tag: "Detached", cause: undefined }
  let since = clock.currentTimeMillisUnsafe()
  let intent: "Consume" | "Pause" | "Stop" = "Consume"
  let opened: Opened | undefined
  /** The present channel has lost its consumer. */
  let isCancelledByBroker = false
  let isMissing = false
  let isStandby = false

  const become = (next: State): void => {
    if (state._tag === "Ended") return
    if (state._tag !== next._tag) since = clock.currentTimeMillisUnsafe()
    state = next
  }

  const detach = (cause: AmqpError): void => {
    // Deliveries may come before the consumer counts as attached.
    listener.onDetached()
    become(intent === "Pause" ? { _tag: "Paused" } : { _tag: "Detached", cause })
  }

  const health = (): ConsumerHealth => {
    const at = new Date(since)
    switch (state._tag) {
      case "Attached":
        return { _tag: "Attached", queue, since: at, epoch: state.session.epoch }
      case "Paused":
        return { _tag: "Paused", queue, since: at }
      case "Detached":
        return { _tag: "Detached", queue, since: at, cause: state.cause, ended: false }
      case "Ended":
        return { _tag: "Detached", queue, since: at, cause: state.cause, ended: true }
    }
  }

  const sayWhatRestartsCost = (session: Session, prefetch: number): Effect.Effect<void> =>
    prefetch > options.atOnce && countsUnbegun(session, traits, typeof options.queue === "string")
      ? Effect.logWarning(
        "AMQP consumer prefetches more than it handles at once: on a quorum queue each restart, lost channel and " +
          "acknowledgement timeout counts as a failed delivery of all that is prefetched; beyond the delivery limit the " +
          "queue dead-letters or drops a message. Lower the prefetch, or use RabbitMQ 4.3",
        {
          queue,
          prefetch,
          handledAtOnce: options.atOnce,
          deliveryLimit: deliveryLimitOn(session, traits) ?? "unknown"
        }
      )
      : Effect.void

  const consume = Effect.fnUntraced(function*(
    { acknowledgements, channel, session }: Opened
  ): Effect.fn.Return<void, AmqpError, Scope.Scope> {
    const name = yield* nameOn(session)
    if (options.noAck && traits.type === "unknown") {
      const type = yield* typeOn(session, `consume ${queue}`, name)
      if (type === "stream") return yield* acknowledgesStreams()
    }
    const consumeArguments = yield* options.arguments(session)
    const prefetch = prefetchOn(session, options)
    yield* session.bounded("prefetch", channel.prefetch(prefetch))
    const cancelled = Deferred.makeUnsafe<void>()
    // Of a queue by name its first delivery tells; since 4.0 a refusal on a stream harms nobody.
    let mayBeStream = traits.type === "unknown" && !isRabbitMqSince(session.driver, 4, 0)
    listener.onOpened(acknowledgements, session)
    const tag = options.consumerTag ?? `${consumerTags}-${++consumerCount}`
    yield* session.bounded(
      `consume ${queue}`,
      channel.consume({
        queue: name,
        consumerTag: tag,
        noAck: options.noAck,
        exclusive: options.exclusive !== false,
        arguments: consumeArguments
      }, {
        onDelivery(delivery) {
          acknowledgements.delivered(delivery.deliveryTag)
          if (mayBeStream) {
            mayBeStream = false
            if (hasStreamOffset(delivery)) acknowledgements.acknowledgeOnly()
          }
          listener.onDelivery(
            new Delivery(delivery, session.epoch, options.noAck ? undefined : acknowledgements, queue, name)
          )
        },
        onCancel() {
          if (isCancelledByBroker) return
          isCancelledByBroker = true
          const ackTimeout = isRabbitMqSince(session.driver, 4, 3) && acknowledgements.isAwaited
          detach(new AmqpError({ operation: `consume ${queue}`, reason: new ConsumerCancelled({ queue, ackTimeout }) }))
          // What RabbitMQ 4.3 has not taken back by its acknowledgement timeout would count when the channel closes.
          acknowledgements.release()
          wakeLater(() => Deferred.doneUnsafe(cancelled, Effect.void))
        }
      })
    )
    if (intent !== "Consume") {
      // Stopped while it was on its way to the broker, which takes back what it has delivered already.
      yield* Effect.ignore(session.bounded("closeChannel", channel.close))
      return
    }
    isMissing = false
    isStandby = false
    if (!isCancelledByBroker && channel.isOpen()) become({ _tag: "Attached", tag, channel, session })
    yield* Effect.addFinalizer(() =>
      state._tag === "Detached"
        ? Effect.logWarning("AMQP consumer detached", { queue, reason: state.cause?.message })
        : Effect.void
    )
    yield* Effect.logInfo("AMQP consumer attached", { queue, epoch: session.epoch, prefetch })
    yield* sayWhatRestartsCost(session, prefetch)
    // The channel outlives a cancel by the broker, and nothing comes on it any more: it makes room for the next one.
    yield* Deferred.await(cancelled).pipe(
      Effect.andThen(session.bounded("closeChannel", channel.close)),
      Effect.ignore,
      Effect.forkScoped({ startImmediately: true })
    )
  })

  const refused = (error: AmqpError): Effect.Effect<void, AmqpError> => {
    const reason = error.reason
    if (reason._tag === "ResourceLocked" && options.exclusive === "standby") {
      // The broker has closed the channel, and the next one asks again.
      const wasStandby = isStandby
      isStandby = true
      become({ _tag: "Detached", cause: error })
      return wasStandby ? Effect.void : Effect.logInfo("AMQP consumer stands by: another one has its queue", { queue })
    }
    if (reason._tag !== "NotFound" || reason.nodeDown || isMissing) return Effect.fail(error)
    isMissing = true
    return Effect.andThen(
      Effect.logWarning("AMQP consumer does not find its queue", { queue, reason: error.message }),
      Effect.fail(error)
    )
  }

  yield* connection.watchConsumer(health, Deferred.await(ended))
  yield* keep(connection, {
    role: "consume",
    confirm: false,
    events() {
      isCancelledByBroker = false
      opened = undefined
      return {
        ...noChannelEvents,
        onClose(error) {
          opened = undefined
          // After a cancel by the broker it was we who closed the channel, and the cancel is the cause.
          if (!isCancelledByBroker) detach(error)
        }
      }
    },
    onOpen: (channel, session) =>
      Effect.flatMap(Effect.scope, (scope) => {
        const acknowledgements = new Acknowledgements(channel, session, listener.onStale, {
          acknowledgesOnly: traits.type === "stream",
          prefetch: prefetchOn(session, options)
        })
        const on: Opened = { channel, session, scope, acknowledgements }
        if (channel.isOpen()) opened = on
        return intent === "Consume"
          ? Effect.catch(consume(on), refused)
          : Effect.void
      }),
    mayHeal(error, waited, session) {
      become({ _tag: "Detached", cause: error })
      const reason = error.reason
      if (reason._tag === "NotFound" && !reason.nodeDown) {
        return waited < Duration.toMillis(options.missingQueueTimeout)
      }
      return reason._tag === "ResourceLocked"
        ? waited < healingMillis(session.heartbeat)
        : error.isRetryable
    },
    onFailed(error) {
      become({ _tag: "Ended", cause: error })
      Deferred.doneUnsafe(ended, Effect.fail(error))
    }
  })

  const cancel = Effect.suspend(() => {
    if (state._tag !== "Attached") return Effect.void
    const { channel, session, tag } = state
    return Effect.ignore(
      options.keepOrder
        ? session.bounded("closeChannel", channel.close)
        : session.bounded(`cancel ${queue}`, channel.cancel(tag))
    )
  })

  return {
    health,
    ended: Deferred.await(ended),
    stop: Effect.suspend(() => {
      intent = "Stop"
      return options.keepOrder ? Effect.void : cancel
    }),
    pause: Effect.suspend(() => {
      if (intent !== "Consume") return Effect.void
      intent = "Pause"
      return Effect.andThen(cancel, Effect.sync(() => become({ _tag: "Paused" })))
    }),
    resume: Effect.suspend(() => {
      if (intent !== "Pause") return Effect.void
      intent = "Consume"
      become({ _tag: "Detached", cause: undefined })
      const on = opened
      if (on === undefined || !on.channel.isOpen()) return Effect.void
      // A refusal closes the channel, and the next one asks again.
      return Effect.ignore(Scope.provide(consume(on), on.scope))
    })
  }
})
