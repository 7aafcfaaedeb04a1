import * as AmqpConnection from "effect-amqp/AmqpConnection"
import type { AmqpDriver } from "effect-amqp/AmqpDriver"
import type { Message } from "effect-amqp/AmqpMessage"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import { CurrentDriver } from "effect-amqp/CurrentDriver"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import { fiberWindow } from "./fiberWindow.ts"
import type { Contender, Load, Publisher, Timeline } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"
import { tappedDriver } from "./tappedDriver.ts"

/** The ways in which this library publishes. */
export type Way = "publish" | "publishAll" | "sink"

/** This library with its default options: metrics on, tracing off. */
export const effectAmqp = (way: Way): Contender => ({
  async open(load) {
    const plain = await connect(load, way)
    // Opened only for the pass that takes latencies, so that the passes before do not measure it.
    let tapped: Promise<Publisher> | undefined
    let timeline: Timeline | undefined
    return {
      async publish(count, observer) {
        if (observer === undefined || way === "publish") return plain.publish(count, observer)
        tapped ??= connect(load, way, tappedDriver(() => timeline))
        const publisher = await tapped
        timeline = observer
        await publisher.publish(count)
        timeline = undefined
      },
      async close() {
        await plain.close()
        await (await tapped)?.close()
      }
    }
  }
})

const connect = async (load: Load, way: Way, driver?: AmqpDriver): Promise<Publisher> => {
  const quiet = Context.make(References.MinimumLogLevel, "None")
  const runtime = ManagedRuntime.make(
    AmqpPublisher.layer({ maxInFlight: load.inFlight }).pipe(
      Layer.provide(AmqpConnection.layer({ endpoints: load.url })),
      Layer.provide(Layer.succeedContext(driver === undefined ? quiet : Context.add(quiet, CurrentDriver, driver)))
    )
  )
  const publisher = await runtime.runPromise(AmqpPublisher.AmqpPublisher)
  const message: Message = { routingKey: load.queue, body: bodyOf(load) }
  const { inFlight } = load
  const publish = (count: number, timeline: Timeline | undefined): Effect.Effect<unknown, unknown> => {
    switch (way) {
      case "publish":
        return fiberWindow(count, inFlight, publisher.publish(message), timeline)
      case "publishAll":
        return publisher.publishAll(repeated(message, count), { inFlight })
      case "sink":
        return Stream.fromIterable(repeated(message, count)).pipe(Stream.run(publisher.sink({ inFlight })))
    }
  }
  return {
    publish: async (count, timeline) => void await runtime.runPromise(publish(count, timeline)),
    close: () => runtime.dispose()
  }
}

const repeated = function*(message: Message, count: number): Generator<Message> {
  for (let index = 0; index < count; index++) yield message
}
