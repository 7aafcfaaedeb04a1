import type { AmqpPublisher } from "effect-amqp/AmqpPublisher"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Oracle } from "./Oracle.ts"

/** The messages of a load and their rate. */
export interface LoadOptions {
  /** Defaults to the default exchange. */
  readonly exchange?: string | undefined
  readonly queue: string
  /** Messages offered a second. */
  readonly rate: number
  /** Asks the broker to keep the messages. `false` is the negative control. */
  readonly persistent: boolean
}

/** A load that publishes in the background. */
export interface Load {
  /** Offers no more messages, and waits until every publish has its outcome. */
  readonly finish: Effect.Effect<void>
}

const tickMillis = 5

// Messages offered during an outage wait in fibers: more of them would test the machine's memory.
const maxOutstanding = 10_000

const bodyBytes = 64

/** The body that carries the number of a message. */
export const bodyOf = (id: number): Buffer => {
  const body = Buffer.alloc(bodyBytes)
  body.writeUInt32BE(id)
  return body
}

/** The number that a body carries. */
export const idOf = (body: Buffer): number => body.length === bodyBytes ? body.readUInt32BE() : Number.NaN

/** Publishes at a steady rate, one fiber for each message, and tell the oracle of every outcome. */
export const start = Effect.fnUntraced(function*(
  publisher: AmqpPublisher,
  options: LoadOptions,
  oracle: Oracle
): Effect.fn.Return<Load, never, Scope.Scope> {
  const { exchange = "", persistent, queue, rate } = options
  const fibers = yield* FiberSet.make<void>()
  const runFork = yield* FiberSet.runtime(fibers)<never>()
  let outstanding = 0
  const state = { running: true }

  const publishOne = (id: number) =>
    publisher.publish({ exchange, routingKey: queue, body: bodyOf(id), persistent }).pipe(
      Effect.exit,
      Effect.map((exit) => {
        outstanding--
        if (Exit.isSuccess(exit)) return oracle.onConfirmed(id)
        const failure = Exit.findErrorOption(exit)
        oracle.onFailed(id, failure._tag === "Some" ? failure.value.reason._tag : "Defect")
      })
    )

  let offered = 0
  const start = performance.now()
  const loop = Effect.gen(function*() {
    while (state.running) {
      const due = Math.floor((performance.now() - start) / 1000 * rate)
      // Messages that were held back because too many were outstanding are not made up for.
      let count = Math.min(due - offered, rate)
      offered = due
      for (; count > 0 && outstanding < maxOutstanding; count--) {
        outstanding++
        runFork(publishOne(oracle.send()))
      }
      yield* Effect.sleep(tickMillis)
    }
  })
  yield* Effect.forkScoped(loop)

  return {
    finish: Effect.suspend(() => {
      state.running = false
      return FiberSet.awaitEmpty(fibers)
    })
  }
})
