/**
 * The worker of the shop: two types of message, one of them in two versions, and a payment provider that is busy now
 * and then.
 */
import { Data, Effect, Schedule } from "effect"
import { AmqpConsumer, AmqpContract } from "effect-amqp"
import { contracts, fulfilment } from "./Contracts.ts"
import { Journal } from "./Journal.ts"

/** The payment provider is busy. The order is tried again later. */
export class ProviderBusy extends Data.TaggedError("ProviderBusy")<{ readonly order: number }> {
  override get message(): string {
    return `the payment provider was busy with order ${this.order}`
  }
}

const later = AmqpConsumer.retry(Schedule.spaced("500 millis").pipe(Schedule.upTo({ times: 3 })))

/** Handles orders until it is released, and then finishes the orders that it has begun. */
export const layer = AmqpContract.layer(
  fulfilment,
  contracts,
  {
    "order.placed": Effect.fnUntraced(function*({ cents, id, item }, delivery) {
      const { write } = yield* Journal
      // The provider is busy at every fifth order.
      if (id % 5 === 0 && delivery.attempts === 1) {
        yield* write(`worker  order ${id} fails: the payment provider is busy, and it is tried again`)
        return yield* new ProviderBusy({ order: id })
      }
      const tries = delivery.attempts === 1 ? "" : `, at attempt ${delivery.attempts}`
      yield* write(`worker  order ${id} is handled: ${item} for ${(cents / 100).toFixed(2)}${tries}`)
    }),
    "order.cancelled": Effect.fnUntraced(function*({ id, why }) {
      const { write } = yield* Journal
      yield* write(`worker  order ${id} is cancelled: ${why}`)
    })
  },
  { concurrency: 4, tracing: true, onFailure: later }
)
