/** The contracts of a shop, in two versions of one type. */
import { Effect, Schema, SchemaTransformation } from "effect"
import { AmqpContract, AmqpTopology } from "effect-amqp"

export const orders = AmqpTopology.exchange("orders", { type: "topic" })
export const rejected = AmqpTopology.queue("rejected")
export const invoices = AmqpTopology.queue("invoices", { deadLetterExchange: "", deadLetterRoutingKey: "rejected" })

export const PaidV1 = Schema.Struct({ id: Schema.Number, amount: Schema.Number })
export const Paid = Schema.Struct({ id: Schema.Number, cents: Schema.Int, at: Schema.Date })

/** What the first version says, as the present type. */
export const PaidFromV1 = PaidV1.pipe(
  Schema.decodeTo(
    Schema.toType(Paid),
    SchemaTransformation.transform({
      decode: ({ amount, id }) => ({ id, cents: Math.round(amount * 100), at: new Date(0) }),
      encode: ({ cents, id }) => ({ id, amount: cents / 100 })
    })
  )
)

/** What the second version says, as the first type: a service of the first version reads it while both are deployed. */
export const PaidV1FromV2 = Paid.pipe(
  Schema.decodeTo(
    Schema.toType(PaidV1),
    SchemaTransformation.transform({
      decode: ({ cents, id }) => ({ id, amount: cents / 100 }),
      encode: ({ amount, id }) => ({ id, cents: Math.round(amount * 100), at: new Date(0) })
    })
  )
)

export const OrderPaidV1 = AmqpContract.make("order.paid", {
  payload: PaidV1,
  exchange: orders,
  key: "order.{id}.paid",
  accepts: { 2: PaidV1FromV2 }
})

export const OrderPaid = AmqpContract.make("order.paid", {
  payload: Paid,
  exchange: orders,
  key: "order.{id}.paid",
  version: 2,
  accepts: { 1: PaidFromV1 },
  description: "A customer paid an order."
})

export const OrderCancelled = AmqpContract.make("order.cancelled", {
  payload: Schema.Struct({ id: Schema.String, why: Schema.String }),
  exchange: orders,
  key: "order.{id}.cancelled"
})

export const topology = AmqpTopology.make(AmqpContract.topology(invoices, [OrderPaid, OrderCancelled]), rejected)

/** A worker that says what it handled, in order. */
export const worker = (handled: Array<string>) =>
  AmqpContract.makeConsumer(invoices, [OrderPaid, OrderCancelled], {
    "order.paid": ({ at, cents, id }) => Effect.sync(() => handled.push(`paid ${id} ${cents} ${at.getTime()}`)),
    "order.cancelled": ({ id, why }) => Effect.sync(() => handled.push(`cancelled ${id} ${why}`))
  })

/** A worker of the first version. */
export const workerV1 = (handled: Array<string>) =>
  AmqpContract.makeConsumer(invoices, [OrderPaidV1], {
    "order.paid": ({ amount, id }) => Effect.sync(() => handled.push(`paid ${id} ${amount}`))
  })
