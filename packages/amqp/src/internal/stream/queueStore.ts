/**
 * Offsets in RabbitMQ itself: a small stream for each group and stream, whose last message is the offset.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { AmqpError } from "../../AmqpError.ts"
import * as AmqpPublisher from "../../AmqpPublisher.ts"
import type { Queue } from "../../AmqpTopology.ts"
import * as AmqpTopology from "../../AmqpTopology.ts"
import { OffsetStore, OffsetStoreError } from "../../OffsetStore.ts"
import { AmqpConnection } from "../connection/service.ts"
import * as LastChunk from "./lastChunk.ts"
import { readOffset } from "./storedOffset.ts"

// The broker drops whole segments, and never the last one: with two, an offset is left whenever one begins.
const segmentBytes = 1_000_000

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
  return OffsetStore.of({
    load: (group, stream) => {
      const queue = queueOf(group, stream)
      return declare(queue).pipe(
        Effect.andThen(
          connection.withSession(
            "consume",
            `read the offset in ${queue.name}`,
            (session) => LastChunk.read(session, queue.name)
          )
        ),
        // A node that has just started may not have its streams yet.
        Effect.retry({ schedule: Schedule.spaced("200 millis"), times: 50, while: (error) => error.isRetryable }),
        Effect.mapError((cause) => new OffsetStoreError({ operation: "load", group, stream, cause })),
        Effect.flatMap((tail) => readOffset(tail && new TextDecoder().decode(tail.last.body), { group, stream }))
      )
    },
    save: (group, stream, offset) => {
      const queue = queueOf(group, stream)
      const publish = publisher.publish({ routingKey: queue.name, body: String(offset), contentType: "text/plain" })
      return publish.pipe(
        // Somebody deleted it.
        Effect.catchReason("PublishError", "Unroutable", () => Effect.andThen(declare(queue), publish)),
        Effect.mapError((cause) => new OffsetStoreError({ operation: "save", group, stream, cause }))
      )
    }
  })
})
