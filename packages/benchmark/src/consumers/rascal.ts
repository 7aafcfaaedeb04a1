import rascal from "rascal"
import type { Contender } from "./Consumer.ts"

/** A subscription of rascal's, acknowledging one by one in its listener. */
export const contender: Contender = {
  async open(load) {
    const broker = await rascal.BrokerAsPromised.create({
      vhosts: {
        benchmark: {
          connection: { url: load.url, socketOptions: { noDelay: true } },
          assert: false,
          queues: { [load.queue]: { assert: false } }
        }
      },
      subscriptions: { messages: { vhost: "benchmark", queue: load.queue, prefetch: load.prefetch } }
    })
    broker.on("error", () => {})
    return {
      async consume(count) {
        const subscription = await broker.subscribe("messages")
        return new Promise((resolve, reject) => {
          let handled = 0
          subscription.on("error", reject)
          subscription.on("message", (_message, _content, ackOrNack) => {
            ackOrNack()
            handled++
            if (handled === count) resolve(() => subscription.cancel())
          })
        })
      },
      close: () => broker.shutdown()
    }
  }
}
