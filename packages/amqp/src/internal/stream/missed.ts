/**
 * Messages that a stream dropped by its retention before its group had read them. The broker says nothing of that: a
 * reader goes on at the first message that is left, whether it comes or stands where messages are dropped.
 *
 * @see https://www.rabbitmq.com/docs/streams#retention
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { AmqpError } from "../../AmqpError.ts"
import type { Session } from "../connection/session.ts"
import { offsetOf } from "./offset.ts"

const missed = Metric.counter("amqp_stream_missed", {
  description: "Offsets, with a message or without one, that a stream had dropped before its group had read them",
  incremental: true
})

// A reader that filters has gaps all the time: it asks for their cause no more often than this.
const pause = "5 seconds"

/** Offsets that did not arrive: from one to the one before another. */
interface Gap {
  readonly from: number
  readonly to: number
}

/** Follows what arrives, and says what was dropped. */
export interface Missed {
  /** Begins with an attachment that is to go on at an offset; `undefined` if it may begin anywhere. */
  readonly attach: (session: Session, next: number | undefined) => void
  /** Notes a message that arrived. */
  readonly arrive: (offset: number) => void
}

/** Reads the offset of the first message that a stream still has; `undefined` if it has none. */
const readFirst = (session: Session, queue: string): Effect.Effect<number | undefined, AmqpError> =>
  session.withChannel(
    `read the beginning of ${queue}`,
    Effect.fnUntraced(function*(channel): Effect.fn.Return<number | undefined, AmqpError> {
      let first: number | undefined
      // The broker sends what is there before it answers the next question on the channel.
      const fence = channel.prefetch(1)
      yield* fence
      yield* channel.consume({
        queue,
        consumerTag: `head-${crypto.randomUUID()}`,
        noAck: false,
        exclusive: false,
        arguments: { "x-stream-offset": "first" }
      }, {
        onDelivery(delivery) {
          first ??= offsetOf(delivery.properties)
        },
        onCancel() {}
      })
      yield* fence
      return first
    })
  )

/** Watches until the scope ends. */
export const watch = Effect.fnUntraced(function*({ filters, group, stream }: {
  readonly stream: string
  readonly group: string
  readonly filters: boolean
}): Effect.fn.Return<Missed, never, Scope.Scope> {
  const wanted = Latch.makeUnsafe(false)
  const counter = Metric.withAttributes(missed, { stream, group })
  let on: Session | undefined
  /** The offset that comes next, if offsets were dense. */
  let next: number | undefined
  let gap: Gap | undefined

  const look = Effect.gen(function*() {
    yield* wanted.await
    wanted.closeUnsafe()
    const found = gap
    if (found === undefined || on === undefined) return
    gap = undefined
    const first = yield* Effect.option(readFirst(on, stream))
    if (first._tag === "None") {
      // The next attachment asks again: a stream that is away could cost the connection.
      gap = { from: found.from, to: gap === undefined ? found.to : (gap as Gap).to }
      return
    }
    // Each segment of a stream begins with an offset that is no message.
    if (first.value !== undefined && first.value > found.from + 1) {
      const end = Math.min(first.value, found.to)
      yield* Metric.update(counter, end - found.from)
      yield* Effect.logWarning(
        filters
          ? "AMQP stream dropped messages before its group had read them, and perhaps some that its filter wants: keep them longer, or read faster"
          : "AMQP stream dropped messages before its group had read them: keep them longer, or read faster",
        { stream, group, offset: found.from, firstLeft: end, missedAtMost: end - found.from }
      )
    }
    yield* Effect.sleep(pause)
  })
  yield* Effect.forkScoped(Effect.forever(look))

  return {
    attach(session, begins) {
      on = session
      next = begins
      if (gap !== undefined) wanted.openUnsafe()
    },
    arrive(offset) {
      if (next !== undefined && offset > next + 1) {
        gap = gap === undefined ? { from: next, to: offset } : { from: gap.from, to: offset }
        wanted.openUnsafe()
      }
      if (next === undefined || offset >= next) next = offset + 1
    }
  }
})
