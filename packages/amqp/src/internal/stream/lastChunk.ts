/**
 * Reads the last chunk of a stream, which tells where the stream ends: AMQP has no other question for it, and the count of
 * messages lags behind.
 *
 * @see https://www.rabbitmq.com/docs/streams#consuming
 */
import * as Effect from "effect/Effect"
import type { DriverDelivery } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import type { Session } from "../connection/session.ts"
import { notAStream, offsetOf } from "./offset.ts"

/** The messages from the beginning of the last chunk to the end of a stream. */
export interface Tail {
  /** The offset of the first of them. */
  readonly first: number
  /** The offset of the message that comes next into the stream. */
  readonly end: number
}

const prefetch = 1000
// A stream that grows faster than it is read has no end to find: then any place since the beginning of the look will do.
const maxRounds = 20

/**
 * Reads the end of a stream; `undefined` if there is nothing in it, as in one that is not back yet after a crash. Fails with
 * `InvalidConfiguration` if it is no stream. Begins at the last chunk, or at an offset, and hands over what it reads.
 */
export const read = (
  session: Session,
  queue: string,
  options: { readonly from?: number; readonly onDelivery?: (delivery: DriverDelivery) => void } = {}
): Effect.Effect<Tail | undefined, AmqpError> =>
  session.withChannel(
    `read the end of ${queue}`,
    Effect.fnUntraced(function*(channel): Effect.fn.Return<Tail | undefined, AmqpError> {
      let first: number | undefined
      let lastTag = 0
      let end = 0
      let isOther = false
      let arrived = 0
      // The broker sends what is there before it answers the next question on the channel.
      const fence = channel.prefetch(prefetch)
      yield* fence
      yield* channel.consume({
        queue,
        consumerTag: `tail-${crypto.randomUUID()}`,
        noAck: false,
        exclusive: false,
        arguments: { "x-stream-offset": options.from ?? "last" }
      }, {
        onDelivery(delivery) {
          arrived++
          const offset = offsetOf(delivery.properties)
          if (offset === undefined) {
            isOther = true
            return
          }
          first ??= offset
          end = offset + 1
          lastTag = delivery.deliveryTag
          options.onDelivery?.(delivery)
        },
        onCancel() {}
      })
      for (let round = 0, known = 0; round < maxRounds; round++) {
        yield* fence
        if (isOther) return yield* notAStream(queue)
        if (arrived === known) break
        known = arrived
        channel.ackUnsafe(lastTag, true)
      }
      return first === undefined ? undefined : { first, end }
    })
  ).pipe(Effect.mapError((error) => isRefusal(error) ? notAStream(queue) : error))

/** RabbitMQ takes the argument of no other queue. */
const isRefusal = ({ reason }: AmqpError): boolean =>
  reason._tag === "OperationRefused" && /'x-stream-offset' .* of queue type rabbit_/.test(reason.replyText)
