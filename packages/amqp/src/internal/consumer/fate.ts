/**
 * What becomes of a message: one list for the failure policy, the acknowledgements and the metrics.
 */

/**
 * The fate of a message that was not handled:
 *
 * - `deadLetter`: refused for good;
 * - `requeue`: back in its queue at once;
 * - `retry`: a copy waits, and the original is acknowledged;
 * - `park`: a copy stays in the parking queue, and the original is acknowledged.
 */
export type Unhandled = "deadLetter" | "requeue" | "retry" | "park"

/** The fate of a message. */
export type Fate = "ack" | Unhandled

/** The fate that all messages of a portion share; `each` if every message met its own, which is written already. */
export type PortionFate = "ack" | "deadLetter" | "requeue" | "each"
