/**
 * An application over the memory broker in virtual time: connection, channel, publisher and a small topology.
 */
import { Effect, Layer } from "effect"
import { AmqpChannel, AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"

export const orders = AmqpTopology.exchange("orders")
export const invoices = AmqpTopology.queue("invoices")
export const topology = AmqpTopology.make(orders, invoices, AmqpTopology.bind(invoices, orders, "paid"))

/** Everything but the broker. */
export const application = (options: {
  readonly connection?: AmqpConnection.Options
  readonly publisher?: AmqpPublisher.Options
} = {}) =>
  Layer.mergeAll(AmqpPublisher.layer(options.publisher), AmqpChannel.layer()).pipe(
    Layer.provideMerge(AmqpTopology.layer(topology)),
    Layer.provideMerge(AmqpConnection.layer(options.connection))
  )

/** The application over a broker of its own. */
export const layer = (options?: Parameters<typeof application>[0]) =>
  application(options).pipe(Layer.provideMerge(AmqpMemory.layer))

/** Let everything happen that needs no time, such as the reactions to a lever of the broker that was pulled. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 50 })
