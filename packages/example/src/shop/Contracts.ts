/**
 * The messages of the shop, which its API publishes and its worker handles.
 */
import { Schema, SchemaTransformation } from "effect"
import { AmqpContract, AmqpTopology, AsyncApi } from "effect-amqp"

const orders = AmqpTopology.exchange("shop.orders", { type: "topic" })

/** The exchange of messages that cannot be handled. */
export const rejected = AmqpTopology.queue("shop.rejected", { type: "quorum" })

/** The queue in which orders wait to be handled. */
export const fulfilment = AmqpTopology.queue("shop.fulfilment", {
  type: "quorum",
  deadLetterExchange: "",
  deadLetterRoutingKey: rejected.name
})

/** The current version of an order. */
export const Order = Schema.Struct({
  id: Schema.Int,
  item: Schema.NonEmptyString,
  cents: Schema.Int,
  placedAt: Schema.Date
}).annotate({ identifier: "Order" })

// The first version of an order had a price in euros, and no time.
const OrderV1 = Schema.Struct({ id: Schema.Int, item: Schema.NonEmptyString, euros: Schema.Finite }).pipe(
  Schema.decodeTo(
    Schema.toType(Order),
    SchemaTransformation.transform({
      decode: ({ euros, id, item }) => ({ id, item, cents: Math.round(euros * 100), placedAt: new Date(0) }),
      encode: ({ cents, id, item }) => ({ id, item, euros: cents / 100 })
    })
  )
)

/** A customer placed an order. */
export const OrderPlaced = AmqpContract.make("order.placed", {
  payload: Order,
  exchange: orders,
  key: "order.{id}.placed",
  version: 2,
  accepts: { 1: OrderV1 },
  description: "A customer placed an order."
})

/** A customer changed their mind. */
export const OrderCancelled = AmqpContract.make("order.cancelled", {
  payload: Schema.Struct({ id: Schema.Int, why: Schema.String }),
  exchange: orders,
  key: "order.{id}.cancelled",
  description: "A customer cancelled an order."
})

/** Every contract of the worker. */
export const contracts = [OrderPlaced, OrderCancelled] as const

/** The exchange, the queues and the bindings. */
export const topology = AmqpTopology.make(AmqpContract.topology(fulfilment, contracts), rejected)

/** The AsyncAPI document of the shop's messages. */
export const document = AsyncApi.make({
  title: "Shop",
  version: "1.0.0",
  description: "Orders, from the API to the worker.",
  sends: contracts,
  receives: [{ queue: fulfilment, contracts }]
})
