import * as amqplib from "amqplib"
import * as Effect from "effect/Effect"
import type { Contender } from "./Consumer.ts"

/** The smallest Effect program over amqplib: a fiber for each message, which is acknowledged when that has ended. */
export const contender: Contender = {
  async open(load) {
    const connection = await amqplib.connect(load.url, { noDelay: true })
    connection.on("error", () => {})
    const channel = await connection.createChannel()
    await channel.prefetch(load.prefetch)
    return {
      consume: (count) =>
        new Promise((resolve, reject) => {
          let handled = 0
          const handler = Effect.sync(() => {
            handled++
            if (handled === count) {
              resolve(async () => {
                await channel.cancel((await started).consumerTag)
              })
            }
          })
          const started = channel.consume(load.queue, (message) => {
            if (message !== null) Effect.runFork(Effect.map(handler, () => channel.ack(message)))
          })
          started.catch(reject)
        }),
      close: () => connection.close()
    }
  }
}
