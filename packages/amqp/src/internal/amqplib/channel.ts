/**
 * A channel of the port over a channel of amqplib: the operations that wait for the broker's answer.
 */
import type { Channel, GetMessage } from "amqplib"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { DriverChannel } from "../../AmqpDriver.ts"
import * as AmqpError from "../../AmqpError.ts"
import type { ChannelState } from "./channelState.ts"
import { invalidReason } from "./errors.ts"
import { encodeHeaders } from "./headers.ts"
import { deliveryOf } from "./incoming.ts"

/** Makes a channel of the port from one of amqplib that has opened. */
export const makeChannel = (channel: Channel, state: ChannelState): DriverChannel => {
  const rpc = <A>(operation: string, call: () => Promise<A>): Effect.Effect<A, AmqpError.AmqpError> =>
    Effect.suspend(() =>
      state.isOpen
        ? Effect.tryPromise({ try: call, catch: (error) => state.errorOf(operation, error) })
        : Effect.fail(state.closeError(operation))
    )

  const { writer } = state

  return {
    isOpen: () => state.isOpen,
    isWritable: () => writer.isWritable,
    publishUnsafe(message) {
      if (!state.takesFrames) return -1
      try {
        writer.publish(state.number, message)
      } catch (error) {
        throw new AmqpError.AmqpError({ operation: "publish", reason: invalidReason(error) })
      }
      return state.confirm ? ++state.published : 0
    },
    ackUnsafe(deliveryTag, multiple) {
      if (!state.takesFrames) return false
      writer.ack(state.number, deliveryTag, multiple)
      return true
    },
    nackUnsafe(deliveryTag, multiple, requeue) {
      if (!state.takesFrames) return false
      writer.nack(state.number, deliveryTag, multiple, requeue)
      return true
    },
    rejectUnsafe(deliveryTag, requeue) {
      if (!state.takesFrames) return false
      writer.reject(state.number, deliveryTag, requeue)
      return true
    },

    declareExchange: (e) =>
      Effect.asVoid(rpc(`declareExchange ${e.exchange}`, () =>
        channel.assertExchange(e.exchange, e.type, {
          durable: e.durable,
          autoDelete: e.autoDelete,
          internal: e.internal,
          arguments: encodeHeaders(e.arguments)
        }))),
    checkExchange: (exchange) => Effect.asVoid(rpc(`checkExchange ${exchange}`, () => channel.checkExchange(exchange))),
    deleteExchange: (exchange, options) =>
      Effect.asVoid(rpc(`deleteExchange ${exchange}`, () => channel.deleteExchange(exchange, options))),
    bindExchange: (b) =>
      Effect.asVoid(
        rpc(`bindExchange ${b.destination}`, () =>
          channel.bindExchange(b.destination, b.source, b.routingKey, encodeHeaders(b.arguments)))
      ),
    unbindExchange: (b) =>
      Effect.asVoid(
        rpc(`unbindExchange ${b.destination}`, () =>
          channel.unbindExchange(b.destination, b.source, b.routingKey, encodeHeaders(b.arguments)))
      ),

    declareQueue: (q) =>
      rpc(`declareQueue ${q.queue}`, () =>
        channel.assertQueue(q.queue, {
          durable: q.durable,
          exclusive: q.exclusive,
          autoDelete: q.autoDelete,
          arguments: encodeHeaders(q.arguments)
        })),
    checkQueue: (queue) => rpc(`checkQueue ${queue}`, () => channel.checkQueue(queue)),
    deleteQueue: (queue, options) =>
      Effect.map(rpc(`deleteQueue ${queue}`, () => channel.deleteQueue(queue, options)), (ok) => ok.messageCount),
    purgeQueue: (queue) =>
      Effect.map(rpc(`purgeQueue ${queue}`, () => channel.purgeQueue(queue)), (ok) => ok.messageCount),
    bindQueue: (b) =>
      Effect.asVoid(
        rpc(`bindQueue ${b.queue}`, () =>
          channel.bindQueue(b.queue, b.exchange, b.routingKey, encodeHeaders(b.arguments)))
      ),
    unbindQueue: (b) =>
      Effect.asVoid(
        rpc(`unbindQueue ${b.queue}`, () =>
          channel.unbindQueue(b.queue, b.exchange, b.routingKey, encodeHeaders(b.arguments)))
      ),

    get: (queue, options) =>
      Effect.callback((resume) => {
        const operation = `get ${queue}`
        if (!state.isOpen) return resume(Effect.fail(state.closeError(operation)))
        let abandoned = false
        const getting = async (): Promise<GetMessage | false> => channel.get(queue, options)
        getting().then(
          (message) => {
            const delivery = message === false ? undefined : deliveryOf(message)
            if (!abandoned) resume(Effect.succeed(Option.fromUndefinedOr(delivery)))
            // Nobody would acknowledge it, and the broker would keep it for as long as the channel lives.
            else if (delivery !== undefined && !options.noAck && state.takesFrames) {
              writer.nack(state.number, delivery.deliveryTag, false, true)
            }
          },
          (error: unknown) => resume(Effect.fail(state.errorOf(operation, error)))
        )
        return Effect.sync(() => {
          abandoned = true
        })
      }),
    prefetch: (count) => Effect.asVoid(rpc("prefetch", () => channel.prefetch(count))),
    consume: (options, events) =>
      Effect.asVoid(
        rpc(`consume ${options.queue}`, () => {
          state.consumes(options.consumerTag, options.noAck, events)
          const consuming = channel.consume(options.queue, () => {}, {
            consumerTag: options.consumerTag,
            noAck: options.noAck,
            exclusive: options.exclusive,
            arguments: encodeHeaders(options.arguments)
          })
          consuming.catch(() => state.forget(options.consumerTag))
          return consuming
        })
      ),
    cancel: (consumerTag) =>
      Effect.asVoid(
        rpc(`cancel ${consumerTag}`, async () => {
          await channel.cancel(consumerTag)
          state.ended(consumerTag)
        })
      ),
    close: Effect.suspend(() => state.isOpen ? Effect.ignore(Effect.tryPromise(() => channel.close())) : Effect.void)
  }
}
