/**
 * Offsets in RabbitMQ itself: a small stream for each group and stream, whose last message is the offset.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { DriverDelivery } from "../../AmqpDriver.ts"
import { AmqpError, OperationTimeout } from "../../AmqpError.ts"
import * as AmqpPublisher from "../../AmqpPublisher.ts"
import type { Queue } from "../../AmqpTopology.ts"
import * as AmqpTopology from "../../AmqpTopology.ts"
import { OffsetStore, OffsetStoreError } from "../../OffsetStore.ts"
import type { PublishError } from "../../PublishError.ts"
import { AmqpConnection } from "../connection/service.ts"
import * as LastChunk from "./lastChunk.ts"
import { readOffset } from "./storedOffset.ts"

// The broker drops whole segments, and never the last one: with two, an offset is left whenever one begins.
const segmentBytes = 1_000_000

/** How the marks begin that are no offsets. */
const nothing = "none"
// Marks are written only where no offset is found, so that an offset lies close behind them.
const farBack = 100

const queueOf = (group: string, stream: string): Queue =>
  AmqpTopology.queue(`${stream}.offset.${group}`, {
    type: "stream",
    maxSegmentBytes: segmentBytes,
    maxLengthBytes: 2 * segmentBytes
  })

/** Makes the store; its publisher lives in the scope. */
export const make: Effect.Effect<OffsetStore, AmqpError, AmqpConnection | Scope.Scope> = Effect.gen(function*() {
  const connection = yield* AmqpConnection
  const publisher = yield* AmqpPublisher.make({ purpose: "retry" })
  const declare = (queue: Queue): Effect.Effect<void, AmqpError> => {
    const { _tag, name, ...properties } = queue
    return connection.withSession(
      "consume",
      `declareQueue ${name}`,
      (session) =>
        Effect.asVoid(
          session.withChannel(`declareQueue ${name}`, (channel) => channel.declareQueue({ queue: name, ...properties }))
        )
    )
  }
  /** Reads what was saved last, in the last chunk or shortly before it, and tells if a mark came behind it. */
  const lookIn = (
    name: string,
    mark?: string
  ): Effect.Effect<{ readonly stored: string | undefined; readonly hasMark: boolean }, AmqpError> =>
    connection.withSession(
      "consume",
      `read the offset in ${name}`,
      Effect.fnUntraced(function*(session) {
        let stored: string | undefined
        let hasMark = false
        const onDelivery = ({ body }: DriverDelivery) => {
          const text = new TextDecoder().decode(body)
          if (!text.startsWith(nothing)) stored = text
          else if (text === mark) hasMark = true
        }
        const tail = yield* LastChunk.read(session, name, { onDelivery })
        if (tail !== undefined && tail.first > 0 && stored === undefined) {
          yield* LastChunk.read(session, name, { from: Math.max(0, tail.first - farBack), onDelivery })
        }
        return { stored, hasMark }
      })
    )
  const publish = (name: string, body: string): Effect.Effect<void, PublishError> =>
    publisher.publish({ routingKey: name, body, contentType: "text/plain" })

  return OffsetStore.of({
    load: Effect.fnUntraced(function*(group, stream) {
      const queue = queueOf(group, stream)
      const { name } = queue
      const mark = `${nothing} ${crypto.randomUUID()}`
      const stored = yield* Effect.gen(function*() {
        yield* declare(queue)
        const found = yield* lookIn(name)
        if (found.stored !== undefined) return found.stored
        // A stream that comes back after a crash looks empty for a moment, and a replica may lag behind. Who sees the mark
        // sees all that stands before it.
        yield* publish(name, mark)
        const marked = yield* lookIn(name, mark)
        if (marked.stored !== undefined || marked.hasMark) return marked.stored
        return yield* new AmqpError({
          operation: `read the offset in ${name}`,
          reason: new OperationTimeout({ millis: 0 })
        })
      }).pipe(
        // A node that has just started may not have its streams yet.
        Effect.retry({
          schedule: Schedule.spaced("200 millis"),
          times: 50,
          while: (error) => error._tag === "PublishError" || error.isRetryable
        }),
        Effect.mapError((cause) => new OffsetStoreError({ operation: "load", group, stream, cause }))
      )
      return yield* readOffset(stored, { group, stream })
    }),
    save: (group, stream, offset) => {
      const queue = queueOf(group, stream)
      const save = publish(queue.name, String(offset))
      return save.pipe(
        // Somebody deleted it.
        Effect.catchReason("PublishError", "Unroutable", () => Effect.andThen(declare(queue), save)),
        Effect.mapError((cause) => new OffsetStoreError({ operation: "save", group, stream, cause }))
      )
    }
  })
})
