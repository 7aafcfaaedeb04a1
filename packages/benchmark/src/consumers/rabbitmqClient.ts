import { Connection } from "rabbitmq-client"
import type { Contender } from "./Consumer.ts"

/** rabbitmq-client's consumer, which acknowledges when the handler returns. */
export const contender: Contender = {
  async open(load) {
    const connection = new Connection({ url: load.url, noDelay: true })
    connection.on("error", () => {})
    await connection.onConnect()
    return {
      consume: (count) =>
        new Promise((resolve, reject) => {
          let handled = 0
          const consumer = connection.createConsumer({
            queue: load.queue,
            qos: { prefetchCount: load.prefetch },
            queueOptions: { durable: true },
            concurrency: load.concurrency
          }, () => {
            handled++
            if (handled === count) resolve(() => consumer.close())
          })
          consumer.on("error", reject)
        }),
      close: () => connection.close()
    }
  }
}
