/**
 * What becomes of a message: one list for the failure policy, the acknowledgements and the metrics.
 */
import type { Delivery } from "../../AmqpDelivery.ts"

/**
 * The fate of a message that was not handled:
 *
 * - `deadLetter`: refused for good, and kept by the dead letter exchange;
 * - `drop`: refused for good where no dead letter exchange keeps it, or passed over on a stream;
 * - `requeue`: back in its queue at once, as a failed delivery;
 * - `giveBack`: back in its queue at once, though nothing failed;
 * - `retry`: a copy waits, and the original is acknowledged;
 * - `park`: a copy stays in the parking queue, and the original is acknowledged.
 */
export type Unhandled = "deadLetter" | "drop" | "requeue" | "giveBack" | "retry" | "park"

/** The fate of a message. */
export type Fate = "ack" | Unhandled

/** The fate that all messages of a portion share; `each` if every message met its own, which is written already. */
export type PortionFate = Exclude<Fate, "retry" | "park"> | "each"

/**
 * Writes the fate of a message; returns `false` if it was settled before or its channel is gone. What failed is rejected
 * and what is given back is nacked, because quorum queues of RabbitMQ 4.3 count only the rejected as failed.
 */
export const write = (delivery: Delivery, fate: Fate): boolean => {
  switch (fate) {
    case "ack":
      return delivery.ackSoonUnsafe()
    case "retry":
    case "park":
      return delivery.ackUnsafe(false)
    case "deadLetter":
    case "drop":
      return delivery.rejectUnsafe(false)
    case "requeue":
      return delivery.rejectUnsafe(true)
    case "giveBack":
      return delivery.nackUnsafe(false, true)
  }
}
