/**
 * Partitions: ordered and balanced groups of consumers on plain RabbitMQ. Messages with the same key are handled in the
 * order of their publishes and one at a time, by one of as many instances as there are.
 *
 * A key belongs to one of a fixed number of quorum queues, each with a single active consumer. Every instance consumes
 * from all of them with a priority of its own for each, and RabbitMQ gives each queue to the instance of the highest
 * priority that lives: there is no coordinator. Each instance takes the lowest number that is free, by an exclusive queue,
 * and its priorities follow from the number: the shares of instances are equal, or differ by one partition. An instance that leaves hands its partitions over at once, and one that
 * dies loses them as soon as RabbitMQ sees that it is gone. RabbitMQ before 4.0 does not hand over to an instance that
 * comes: the order is kept there, and the balance is not.
 *
 * A message may be handled twice, when its instance or its connection is lost before the acknowledgement: what comes
 * again are the last messages of a partition, in their order, and none is left out.
 *
 * The partition of a key is the CRC-32 of its UTF-8 bytes (ISO 3309, as zlib, gzip and PNG have it), unsigned, modulo the
 * count. A publisher in any language sends to the direct exchange of the name, with the partition's number as routing key
 * and the key itself as the header `x-partition-key`. With 12 partitions:
 *
 * | key               | CRC-32     | partition |
 * | ----------------- | ---------- | --------- |
 * | (empty)           | 0          | 0         |
 * | `a`               | 3904355907 | 3         |
 * | `customer-42`     | 1241360405 | 5         |
 * | `Zürich`          | 3540756798 | 6         |
 * | `注文/7`          | 3039504721 | 1         |
 *
 * @see https://www.rabbitmq.com/docs/consumers#single-active-consumer
 * @see https://www.rabbitmq.com/docs/consumer-priority
 * @see https://www.rabbitmq.com/docs/quorum-queues
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { AmqpConnection } from "./AmqpConnection.ts"
import type { Delivery } from "./AmqpDelivery.ts"
import { AmqpError, InvalidConfiguration } from "./AmqpError.ts"
import type * as AmqpMessage from "./AmqpMessage.ts"
import { AmqpPublisher } from "./AmqpPublisher.ts"
import type { HandlerContext } from "./internal/consumer/worker.ts"
import * as Groups from "./internal/partitions/group.ts"
import type { Options } from "./internal/partitions/options.ts"
import * as Values from "./internal/partitions/partitions.ts"
import type { Partitions } from "./internal/partitions/partitions.ts"
import { readableHeaders } from "./internal/wire/properties.ts"
import type { PublishError } from "./PublishError.ts"

export type { GivenUpOutcome, Options } from "./internal/partitions/options.ts"
export type { Partitions } from "./internal/partitions/partitions.ts"

/**
 * Names the header with the key of a message.
 *
 * @category publishing
 * @since 0.2.0
 */
export const keyHeader = "x-partition-key"

// Each partition is a quorum queue, and a channel of each instance.
const maxCount = 2000

/**
 * Makes partitions: a plain value, which declares nothing. The count is fixed: a group that is started with another one is
 * refused as long as messages are in the queues, or instances with the earlier count run. Choose as many as there will
 * ever be instances, or a few times that, so that their shares are even.
 *
 * Throws an `AmqpError` with `InvalidConfiguration` if the count is not a whole number from 1 to 2000.
 *
 * @example
 * ```ts
 * import { AmqpPartitions } from "effect-amqp"
 *
 * const events = AmqpPartitions.make("events", { count: 12 })
 * ```
 * @category constructors
 * @since 0.2.0
 */
export const make = (name: string, options: { readonly count: number }): Partitions => {
  const { count } = options
  if (!Number.isInteger(count) || count < 1 || count > maxCount) {
    throw new AmqpError({
      operation: "configure",
      reason: new InvalidConfiguration({
        option: "count",
        detail: `${count} is not a whole number of partitions from 1 to ${maxCount}`
      })
    })
  }
  const { marker: _, ...partitions } = Values.make(name, count)
  return partitions
}

/**
 * Returns the partition of a key: the CRC-32 of its UTF-8 bytes, modulo the count.
 *
 * @example
 * ```ts
 * import { AmqpPartitions } from "effect-amqp"
 *
 * const events = AmqpPartitions.make("events", { count: 12 })
 * const partition = AmqpPartitions.partitionOf(events, "customer-42") // 5 of 12
 * ```
 * @category publishing
 * @since 0.2.0
 */
export const partitionOf = ({ count }: Pick<Partitions, "count">, key: string): number => Values.partitionOf(count, key)

/**
 * A message without its destination, which is its partition.
 *
 * @category models
 * @since 0.2.0
 */
export type Message = Omit<AmqpMessage.Message, "exchange" | "routingKey">

/**
 * Makes the message of a key, for `publisher.publishAll`, `sink`, or an outbox.
 *
 * @example
 * ```ts
 * import { AmqpPartitions, AmqpPublisher } from "effect-amqp"
 *
 * const events = AmqpPartitions.make("events", { count: 12 })
 * const orders = [{ id: 1, customer: "alice" }, { id: 2, customer: "bob" }]
 *
 * const program = AmqpPublisher.AmqpPublisher.use((publisher) =>
 *   publisher.publishAll(orders.map((order) => AmqpPartitions.message(events, order.customer, { body: order })))
 * )
 * ```
 * @category publishing
 * @since 0.2.0
 */
export const message = (partitions: Partitions, key: string, message: Message): AmqpMessage.Message => ({
  ...message,
  exchange: partitions.exchange,
  routingKey: String(Values.partitionOf(partitions.count, key)),
  headers: { ...message.headers, [keyHeader]: key }
})

/**
 * Publishes a message to the partition of its key, and waits for the confirm as `publisher.publish` does. Messages of one
 * publisher keep their order as `AmqpPublisher` says; wait for each publish where the order of two matters.
 *
 * Fails with `PublishError` and nothing else; `Unroutable` where nobody has declared the partitions, see {@link declare}.
 *
 * @example
 * ```ts
 * import { AmqpPartitions } from "effect-amqp"
 *
 * const events = AmqpPartitions.make("events", { count: 12 })
 *
 * const program = AmqpPartitions.publish(events, "customer-42", { body: { order: 1 } })
 * ```
 * @category publishing
 * @since 0.2.0
 */
export const publish = (
  partitions: Partitions,
  key: string,
  content: Message
): Effect.Effect<void, PublishError, AmqpPublisher> =>
  Effect.flatMap(AmqpPublisher, (publisher) => publisher.publish(message(partitions, key, content)))

/**
 * Returns the key that a message was published with, for `orderedBy`; the empty key if it has none.
 *
 * @category consuming
 * @since 0.2.0
 */
export const keyOf = (delivery: Delivery): string => {
  const key = readableHeaders(delivery.properties)?.[keyHeader]
  return typeof key === "string" ? key : ""
}

/**
 * Declares partitions now and on every session until the scope ends, as `AmqpTopology.declare` does: for a program that
 * only publishes. Consumers do so by themselves. Fails with `InvalidConfiguration` when the partitions have another count
 * and are in use.
 *
 * @category declaring
 * @since 0.2.0
 */
export const declare = (
  partitions: Partitions
): Effect.Effect<void, AmqpError, AmqpConnection | Scope.Scope> => Groups.declare(partitions)

/**
 * Makes a layer that declares partitions, see {@link declare}. Provide it to publishers.
 *
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { AmqpConnection, AmqpPartitions, AmqpPublisher } from "effect-amqp"
 *
 * const events = AmqpPartitions.make("events", { count: 12 })
 *
 * const Publishing = AmqpPublisher.layer().pipe(
 *   Layer.provide(AmqpPartitions.declareLayer(events)),
 *   Layer.provide(AmqpConnection.layerConfig())
 * )
 * ```
 * @category declaring
 * @since 0.2.0
 */
export const declareLayer = (partitions: Partitions): Layer.Layer<never, AmqpError, AmqpConnection> =>
  Layer.effectDiscard(declare(partitions))

/**
 * Consumes partitions until interrupted, and hands them over then; otherwise as {@link layer}. Fails when the consumer of
 * a partition cannot come back.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpPartitions } from "effect-amqp"
 *
 * const events = AmqpPartitions.make("events", { count: 12 })
 *
 * const program = AmqpPartitions.run(
 *   events,
 *   (delivery, partition) => Effect.flatMap(delivery.text, (text) => Effect.log(`partition ${partition}: ${text}`))
 * )
 * ```
 * @category consuming
 * @since 0.2.0
 */
export const run = <E, R, R2 = never>(
  partitions: Partitions,
  handler: (delivery: Delivery, partition: number) => Effect.Effect<unknown, E, R>,
  options: Options<E, R2> = {}
): Effect.Effect<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope> | Exclude<R2, Scope.Scope>> =>
  Effect.contextWith((context: HandlerContext<R | R2>) =>
    Effect.scoped(Effect.flatMap(Groups.start(partitions, handler, options, context), (group) => group.ended))
  )

/**
 * Makes a layer that is an instance of the group from when it is built until it is released: it consumes from all
 * partitions, and handles those that RabbitMQ gives to it. Released, it lets running handlers finish, and hands over.
 *
 * Messages of a partition are handled one by one and in order. A handler that fails is tried again in place by the
 * schedule `retry` while its partition waits; a message that is given up is parked in `<name>.parked`, with the reason in
 * its headers, and `AmqpRedrive` brings it back. `AmqpConsumer.giveBack` tries again in place after a second. When the
 * connection is lost, running handlers are interrupted, because another instance has their messages.
 *
 * The connection's health shows the group, its partitions, and which are active here.
 *
 * Building fails as `AmqpConsumer.make` does; with `InvalidConfiguration` for an option that cannot work, and when the
 * partitions have another count and are in use: the text says how to drain them.
 *
 * @example
 * ```ts
 * import { Effect, Schedule, Schema } from "effect"
 * import { AmqpPartitions } from "effect-amqp"
 *
 * const Order = Schema.Struct({ id: Schema.Number })
 * const events = AmqpPartitions.make("events", { count: 12 })
 *
 * const Worker = AmqpPartitions.layer(
 *   events,
 *   Effect.fnUntraced(function*(delivery, partition) {
 *     const order = yield* delivery.json(Order)
 *     yield* Effect.log(`order ${order.id} of partition ${partition}`)
 *   }),
 *   { retry: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 8 })) }
 * )
 * ```
 * @category consuming
 * @since 0.2.0
 */
export const layer = <E, R, R2 = never>(
  partitions: Partitions,
  handler: (delivery: Delivery, partition: number) => Effect.Effect<unknown, E, R>,
  options: Options<E, R2> = {}
): Layer.Layer<never, AmqpError, AmqpConnection | Exclude<R, Scope.Scope> | Exclude<R2, Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.contextWith((context: HandlerContext<R | R2>) => Groups.start(partitions, handler, options, context))
  )
