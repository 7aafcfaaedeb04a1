import type { Channel, GetMessage, Message as AmqplibMessage } from "amqplib"
import * as amqplib from "amqplib"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { DriverChannel, WireMessage } from "../../AmqpDriver.ts"
import * as AmqpError from "../../AmqpError.ts"
import type { ChannelState } from "./channelState.ts"
import { invalidReason } from "./errors.ts"
import { asBuffer, encodeHeaders, toDelivery, wireProperties } from "./headers.ts"
import { writerOf } from "./internals.ts"

/** Makes a channel of the port from one of amqplib that has opened. */
export const makeChannel = (channel: Channel, state: ChannelState): DriverChannel => {
  const rpc = <A>(operation: string, call: () => Promise<A>): Effect.Effect<A, AmqpError.AmqpError> =>
    Effect.suspend(() =>
      state.isOpen
        ? Effect.tryPromise({ try: call, catch: (error) => state.errorOf(operation, error) })
        : Effect.fail(state.closeError(operation))
    )

  // amqplib throws synchronously from a write to a channel that is closed or closing.
  const write = (frame: () => void): boolean => {
    if (!state.isOpen) return false
    try {
      frame()
      return true
    } catch {
      return false
    }
  }

  const writer = writerOf(channel)
  const publish = (message: WireMessage): boolean =>
    writer.sendMessage(message, wireProperties(message.properties), asBuffer(message.body))

  return {
    isOpen: () => state.isOpen,
    isWritable: () => state.writable,
    publishUnsafe(message) {
      if (!state.isOpen) return -1
      try {
        state.writable = publish(message)
      } catch (error) {
        if (error instanceof amqplib.IllegalOperationError) return -1
        throw new AmqpError.AmqpError({ operation: "publish", reason: invalidReason(error) })
      }
      return state.confirm ? ++state.published : 0
    },
    ackUnsafe: (deliveryTag, multiple) => write(() => channel.ack(tagged(deliveryTag), multiple)),
    nackUnsafe: (deliveryTag, multiple, requeue) => write(() => channel.nack(tagged(deliveryTag), multiple, requeue)),
    rejectUnsafe: (deliveryTag, requeue) => write(() => channel.reject(tagged(deliveryTag), requeue)),

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
            if (!abandoned) resume(Effect.succeed(message === false ? Option.none() : Option.some(toDelivery(message))))
            // Nobody would acknowledge it, and the broker would keep it for as long as the channel lives.
            else if (message !== false && !options.noAck) write(() => channel.nack(message, false, true))
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
        rpc(`consume ${options.queue}`, () =>
          channel.consume(options.queue, (message) => {
            if (message === null) events.onCancel()
            else events.onDelivery(toDelivery(message))
          }, {
            consumerTag: options.consumerTag,
            noAck: options.noAck,
            exclusive: options.exclusive,
            arguments: encodeHeaders(options.arguments)
          }))
      ),
    cancel: (consumerTag) => Effect.asVoid(rpc(`cancel ${consumerTag}`, () => channel.cancel(consumerTag))),
    close: Effect.suspend(() => state.isOpen ? Effect.ignore(Effect.tryPromise(() => channel.close())) : Effect.void)
  }
}

// amqplib's ack, nack and reject take a whole message and read only this of it.
const tagged = (deliveryTag: number): AmqplibMessage => ({ fields: { deliveryTag } }) as unknown as AmqplibMessage
