/**
 * A worker of the demo: it handles the messages of its partitions, and tells what it does.
 */
import { Effect } from "effect"
import { AmqpPartitions } from "effect-amqp"

/** The partitions of the demo. */
export const events = AmqpPartitions.make("demo-events", { count: 12 })

/** What a worker tells, with the time of the machine in nanoseconds: one clock for all processes. */
export type Told =
  | { readonly _tag: "Handled"; readonly at: bigint; readonly partition: number; readonly id: string }
  | { readonly _tag: "Assigned" | "Revoked"; readonly at: bigint; readonly partition: number }

/** What a worker of a name does, for as long as its layer lives. */
export const layer = (name: string, tell: (told: Told) => void) => {
  const transition = (_tag: "Assigned" | "Revoked") => (partition: number) =>
    Effect.map(now, (at) => tell({ _tag, at, partition }))
  return AmqpPartitions.layer(
    events,
    (delivery, partition) =>
      Effect.andThen(
        Effect.sleep("5 millis"),
        Effect.map(now, (at) => tell({ _tag: "Handled", at, partition, id: delivery.messageId! }))
      ),
    { instance: name, onAssigned: transition("Assigned"), onRevoked: transition("Revoked") }
  )
}

// The monotonic clock begins with the machine, not with the process.
const now = Effect.sync(() => process.hrtime.bigint())
