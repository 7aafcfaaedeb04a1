/**
 * Deliveries as a stream. What was not acknowledged when the stream ends goes back to the queue: what the stream has not
 * emitted is given back, and what its reader had in its hands counts as a failed delivery.
 */
import type { NonEmptyArray, NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { AmqpConnection } from "../../AmqpConnection.ts"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { isRabbitMqSince } from "../connection/brokerVersion.ts"
import type { Acknowledgements } from "../delivery/acknowledgements.ts"
import * as WakeLater from "../wakeLater.ts"
import type { AttachmentOptions } from "./attachment.ts"
import { attach } from "./attachment.ts"
import { write } from "./fate.ts"
import { slowly, together } from "./giveBack.ts"

/** The deliveries of a consumer. */
export interface Deliveries {
  readonly stream: Stream.Stream<Delivery, AmqpError>
  /** Asks the broker to send no more; what it has sent can still be acknowledged. */
  readonly stop: Effect.Effect<void>
  /** Writes the acknowledgements that are due. */
  readonly flush: () => void
}

/** Consumes until the scope ends. */
export const make = Effect.fnUntraced(function*(
  connection: AmqpConnection,
  options: AttachmentOptions
): Effect.fn.Return<Deliveries, AmqpError, Scope.Scope> {
  const wakeLater = yield* WakeLater.make
  let buffer: Array<Delivery> = []
  let failure: AmqpError | undefined
  let onChange: (() => void) | undefined
  let acknowledgements: Acknowledgements | undefined
  /** A delivery counts by what was done with it, so that only those leave that their reader takes. */
  let leaveOneByOne = false

  const attachment = yield* attach(connection, options, {
    onOpened(opened, session) {
      acknowledgements = opened
      const { type } = options.traits
      leaveOneByOne = (type === "quorum" || type === "unknown") && isRabbitMqSince(session.driver, 4, 3)
    },
    onDelivery(delivery) {
      // The prefetch bounds it.
      buffer.push(delivery)
      if (buffer.length === 1) wakeLater(() => onChange?.())
    },
    onDetached() {
      buffer = []
    },
    onStale() {}
  })
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      attachment.stop,
      Effect.suspend(() => {
        const [next] = buffer
        // Without a cancel, what is nacked would come back at once.
        if (options.keepOrder || next === undefined) return Effect.void
        if (!leaveOneByOne || acknowledgements === undefined) {
          for (const delivery of buffer) write(delivery, "giveBack")
          return Effect.void
        }
        // The one nack of the others would take it along, and nothing would count it.
        const inHands = acknowledgements.outstandingBelow(next.deliveryTag)
        const on = acknowledgements
        return Effect.andThen(
          slowly(inHands, (tag) => void on.reject(tag, true)),
          Effect.sync(() => together(buffer))
        )
      })
    )
  )
  yield* attachment.ended.pipe(
    Effect.catch((error) =>
      Effect.sync(() => {
        failure = error
        onChange?.()
      })
    ),
    Effect.forkScoped
  )

  const take = (): NonEmptyReadonlyArray<Delivery> | undefined => {
    if (buffer.length === 0) return undefined
    const chunk = leaveOneByOne ? buffer.splice(0, 1) : buffer
    if (chunk === buffer) buffer = []
    return chunk as NonEmptyArray<Delivery>
  }
  const pull = Effect.callback<NonEmptyReadonlyArray<Delivery>, AmqpError>((resume) => {
    const answer = () => {
      // Before resuming: that runs the fiber at once, which may well wait for the next change already.
      onChange = undefined
      const chunk = take()
      if (chunk !== undefined) resume(Effect.succeed(chunk))
      else if (failure !== undefined) resume(Effect.fail(failure))
      else onChange = answer
    }
    answer()
    return Effect.sync(() => {
      onChange = undefined
    })
  })
  return {
    stream: Stream.fromPull(Effect.succeed(pull)),
    stop: attachment.stop,
    flush: () => acknowledgements?.flush()
  }
})
