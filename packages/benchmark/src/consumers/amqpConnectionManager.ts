import { connect } from "amqp-connection-manager"
import type { Contender } from "./Consumer.ts"

/** A channel wrapper of amqp-connection-manager, acknowledging one by one in its callback. */
export const contender: Contender = {
  async open(load) {
    const manager = connect([load.url], { connectionOptions: { noDelay: true } })
    const channel = manager.createChannel()
    await channel.waitForConnect()
    return {
      consume: (count) =>
        new Promise((resolve, reject) => {
          let handled = 0
          const started = channel.consume(load.queue, (message) => {
            channel.ack(message)
            handled++
            if (handled === count) {
              resolve(async () => {
                await channel.cancel((await started).consumerTag)
              })
            }
          }, { prefetch: load.prefetch })
          started.catch(reject)
        }),
      close: () => manager.close()
    }
  }
}
