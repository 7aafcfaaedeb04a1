import * as amqplib from "amqplib"
import type { Contender } from "./Consumer.ts"

/** amqplib with its callback, acknowledging one by one. The contender that all ratios are to. */
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
          const started = channel.consume(load.queue, (message) => {
            if (message === null) return
            channel.ack(message)
            handled++
            if (handled === count) {
              resolve(async () => {
                await channel.cancel((await started).consumerTag)
              })
            }
          })
          started.catch(reject)
        }),
      close: () => connection.close()
    }
  }
}
