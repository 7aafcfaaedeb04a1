import { AMQPClient } from "@cloudamqp/amqp-client"
import type { Contender } from "./Consumer.ts"

/** CloudAMQP's client with its callback, acknowledging one by one. */
export const contender: Contender = {
  async open(load) {
    const client = new AMQPClient(load.url)
    const connection = await client.connect()
    client.socket?.setNoDelay(true)
    const channel = await connection.channel()
    await channel.basicQos(load.prefetch)
    return {
      consume: (count) =>
        new Promise((resolve, reject) => {
          let handled = 0
          const started = channel.basicConsume(load.queue, { noAck: false }, async (message) => {
            const acknowledged = message.ack()
            handled++
            if (handled === count) {
              resolve(async () => {
                await channel.basicCancel((await started).tag)
              })
            }
            await acknowledged
          })
          started.catch(reject)
        }),
      close: () => connection.close()
    }
  }
}
