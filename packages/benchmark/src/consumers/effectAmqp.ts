import * as AmqpConnection from "effect-amqp/AmqpConnection"
import * as AmqpConsumer from "effect-amqp/AmqpConsumer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Contender } from "./Consumer.ts"

/** This library with its default options (metrics on, tracing off), with a handler or as a stream. */
export const effectAmqp = (way: "handler" | "stream"): Contender => ({
  async open(load) {
    const quiet = Layer.succeedContext(Context.make(References.MinimumLogLevel, "None"))
    const runtime = ManagedRuntime.make(
      Layer.provideMerge(AmqpConnection.layer({ endpoints: load.url }), quiet)
    )
    await runtime.context()
    const { concurrency, prefetch, queue } = load

    const handle = (count: number) =>
      new Promise<() => Promise<void>>((resolve, reject) => {
        let handled = 0
        const scope = Scope.makeUnsafe()
        const stop = () => runtime.runPromise(Scope.close(scope, Exit.void))
        const handler = Effect.sync(() => {
          handled++
          if (handled === count) resolve(stop)
        })
        runtime.runPromise(
          Scope.provide(AmqpConsumer.make(queue, () => handler, { prefetch, concurrency }), scope)
        ).catch(reject)
      })

    const stream = (count: number) =>
      new Promise<() => Promise<void>>((resolve, reject) => {
        let handled = 0
        const fiber = runtime.runFork(
          Stream.runForEach(AmqpConsumer.stream(queue, { prefetch }), (delivery) =>
            Effect.map(delivery.ack(), () => {
              handled++
              if (handled === count) resolve(() => runtime.runPromise(Fiber.interrupt(fiber)))
            }))
        )
        fiber.addObserver((exit) => {
          if (Exit.isFailure(exit)) reject(new Error("the stream ended"))
        })
      })

    return { consume: way === "handler" ? handle : stream, close: () => runtime.dispose() }
  }
})
