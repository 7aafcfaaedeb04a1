/** One instance of the partitions benchmark in a process of its own: handles what comes, and says what it cost. */
import * as AmqpConnection from "effect-amqp/AmqpConnection"
import * as AmqpConsumer from "effect-amqp/AmqpConsumer"
import * as AmqpPartitions from "effect-amqp/AmqpPartitions"
import * as AmqpTopology from "effect-amqp/AmqpTopology"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as References from "effect/References"
import { answerTo, peakBytes } from "../measure/answering.ts"

/** What an instance consumes, and how. */
export interface Load {
  readonly url: string
  readonly way: "one queue" | "partitions"
  /** The name of the queue, or of the partitions. */
  readonly name: string
  /** The partitions, or the handlers at once on the one queue. */
  readonly width: number
  readonly instance: string
}

/** What an instance has handled since it was let go. */
export interface Progress {
  readonly handled: number
  readonly cpuMicros: number
  /** Milliseconds of the machine's clock. */
  readonly lastAt: number
}

/** The questions of the benchmark to an instance. */
export type Request =
  | { readonly ask: "open"; readonly load: Load }
  | { readonly ask: "hold" }
  | { readonly ask: "go" }
  | { readonly ask: "progress" }
  | { readonly ask: "peak" }
  | { readonly ask: "close" }

const gate = Latch.makeUnsafe(false)
let isOpen = false
let handled = 0
let lastAt = 0
let cpu = process.cpuUsage()
let close: (() => Promise<void>) | undefined

const count = Effect.sync(() => {
  handled++
  lastAt = performance.timeOrigin + performance.now()
})
const handler = () => isOpen ? count : Effect.andThen(gate.await, count)

const consumerOf = ({ instance, name, way, width }: Load) =>
  way === "partitions"
    ? AmqpPartitions.layer(AmqpPartitions.make(name, { count: width }), handler, { instance })
    : AmqpConsumer.layer(AmqpTopology.queue(name, { type: "quorum" }), handler, {
      concurrency: width,
      onFailure: "drop"
    })

const answer = async (request: Request): Promise<unknown> => {
  switch (request.ask) {
    case "open": {
      const runtime = ManagedRuntime.make(
        consumerOf(request.load).pipe(
          Layer.provide(AmqpConnection.layer({ endpoints: request.load.url })),
          Layer.provideMerge(Layer.succeed(References.MinimumLogLevel, "None"))
        )
      )
      await runtime.runPromise(Effect.void)
      close = () => runtime.dispose()
      return undefined
    }
    case "hold":
      isOpen = false
      gate.closeUnsafe()
      handled = 0
      return undefined
    case "go":
      cpu = process.cpuUsage()
      isOpen = true
      gate.openUnsafe()
      return performance.timeOrigin + performance.now()
    case "progress": {
      const { system, user } = process.cpuUsage(cpu)
      return { handled, cpuMicros: system + user, lastAt } satisfies Progress
    }
    case "peak":
      return peakBytes()
    case "close":
      return close?.()
  }
}

answerTo(answer)
