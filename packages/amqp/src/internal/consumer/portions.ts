/**
 * Portions: what a handler is given at once, a delivery or a batch of them, and how deliveries become portions.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Delivery } from "../../AmqpDelivery.ts"
import * as Monotonic from "../monotonic.ts"
import type { Batch } from "./batcher.ts"
import { Batcher } from "./batcher.ts"
import type { Fate } from "./fate.ts"
import { write } from "./fate.ts"

/**
 * The state of a portion:
 *
 * - `Waiting`: no handler has begun with it;
 * - `Handling`: its handler runs;
 * - `Resolving`: its handler did not succeed, and the failure policy is at work;
 * - `Settled`: its fate is known and written;
 * - `Forgotten`: no handler had begun with it, and the broker has it back.
 */
export type PortionState = "Waiting" | "Handling" | "Resolving" | "Settled" | "Forgotten"

/** A portion on its way through a handler. */
export class Portion<T> {
  /** What the handler is given. */
  readonly content: T
  /** Milliseconds of the clock; the broker waits for an acknowledgement since then. */
  readonly arrivedAt: number
  startedAt: number | undefined = undefined
  state: PortionState = "Waiting"
  key: string | undefined = undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** The library interrupted its handler, which says nothing against the message. */
  isInterrupted = false

  constructor(content: T, arrivedAt: number) {
    this.content = content
    this.arrivedAt = arrivedAt
  }
}

/** One kind of portion: single deliveries, or batches. */
export interface PortionKind<T> {
  readonly first: (content: T) => Delivery
  readonly all: (content: T) => ReadonlyArray<Delivery>
  /** Returns what the failure policy is given of a message that failed alone. */
  readonly of: (delivery: Delivery) => T
  /** Writes the fate of a portion; returns for how many messages it was written. */
  readonly settle: (content: T, fate: Fate) => number
  /** Makes portions of deliveries. */
  readonly intake: (offer: (content: T, arrivedAt?: number) => void) => Effect.Effect<Intake, never, Scope.Scope>
}

/** Takes deliveries in; called inside driver callbacks. */
export interface Intake {
  readonly offer: (delivery: Delivery) => void
  /** Forgets the deliveries that are no portion yet, and returns them. */
  readonly forget: () => ReadonlyArray<Delivery>
}

/** Single deliveries. */
export const singly: PortionKind<Delivery> = {
  first: (delivery) => delivery,
  all: (delivery) => [delivery],
  of: (delivery) => delivery,
  settle: (delivery, fate) => write(delivery, fate) ? 1 : 0,
  intake: (offer) => Effect.succeed({ offer: (delivery) => offer(delivery), forget: () => [] })
}

/** Batches of at most `size` deliveries, gathered for at most `within`. */
export const inBatches = (size: number, within: Duration.Duration): PortionKind<Batch> => ({
  first: ([first]) => first,
  all: (batch) => batch,
  of: (delivery) => [delivery],
  settle(batch, fate) {
    const open = batch.filter((delivery) => !delivery.isSettled)
    // Batches are handled one by one and in order, so that everything before this one is settled.
    if (fate === "ack" && open.at(-1)?.ackUnsafe(true) === true) return open.length
    return open.filter((delivery) => write(delivery, fate)).length
  },
  intake: (onBatch) =>
    Effect.zipWith(FiberSet.makeRuntime<never>(), Clock.Clock, (runFork, clock) =>
      new Batcher({
        size,
        now: () => Monotonic.millis(clock),
        onBatch,
        startWindow(onOver) {
          const fiber = runFork(Effect.andThen(Effect.sleep(within), Effect.sync(onOver)))
          return () => fiber.interruptUnsafe()
        }
      }))
})
