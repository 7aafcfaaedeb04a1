/**
 * The type of a queue whose value does not tell it. RabbitMQ ends the whole connection for what a type of queue does not
 * have, so the type is asked for before: by a consumer with an offset and a priority. No type of queue has both, and the
 * refusal, which costs a channel of its own, says which type lacks which.
 */
import * as Effect from "effect/Effect"
import type { DriverConsumerEvents } from "../../AmqpDriver.ts"
import { AmqpError } from "../../AmqpError.ts"
import { isRabbitMqSince } from "./brokerVersion.ts"
import type { Session } from "./session.ts"

const refusal = /^PRECONDITION_FAILED - invalid arg '(x-stream-offset|x-priority)' for queue /
const typeInRefusal = / of queue type rabbit_([a-z]+)_queue$/

// RabbitMQ cuts a longer text, and since 4.0 ends the connection where it cannot.
const maxTextBytes = 255

const isAnswerable = (session: Session, queue: string): boolean => {
  const text = `PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue '${queue}' in vhost '${session.vhost}' ` +
    "of queue type rabbit_classic_queue"
  const bytes = Buffer.byteLength(text)
  return bytes === text.length || bytes <= maxTextBytes
}

const ignored: DriverConsumerEvents = { onDelivery() {}, onCancel() {} }

const ask = (session: Session, operation: string, queue: string): Effect.Effect<string | undefined, AmqpError> =>
  session.withChannel(operation, (channel) =>
    channel.consume({
      queue,
      consumerTag: crypto.randomUUID(),
      noAck: false,
      exclusive: false,
      arguments: { "x-stream-offset": "first", "x-priority": 1 }
    }, ignored)).pipe(
      Effect.as(undefined),
      Effect.catch(({ reason }) => {
        const text = reason._tag === "OperationRefused" ? reason.replyText : ""
        const argument = refusal.exec(text)?.[1]
        return argument === undefined
          ? Effect.fail(new AmqpError({ operation, reason }))
          // Of a long name the end of the text is cut off.
          : Effect.succeed(typeInRefusal.exec(text)?.[1] ?? (argument === "x-priority" ? "stream" : undefined))
      })
    )

/**
 * Returns the type of a queue, or `undefined` where the broker does not tell it; fails as any operation on the queue does
 * if it is missing, locked, or not to be read. Asks nothing of a queue that a topology has declared on this session: one
 * without a type is no stream, which is enough unless the type must be `exact`.
 */
export const typeOn = (
  session: Session,
  operation: string,
  queue: string,
  exact = false
): Effect.Effect<string | undefined, AmqpError> => {
  const [declared] = session.queues.declarationsOf({ _tag: "Queue", name: queue })
  if (declared !== undefined && (declared.type !== undefined || !exact)) return Effect.succeed(declared.type)
  return isRabbitMqSince(session.driver, 3, 10) && isAnswerable(session, queue)
    ? ask(session, operation, queue)
    : Effect.as(session.withChannel(operation, (channel) => channel.checkQueue(queue)), undefined)
}
