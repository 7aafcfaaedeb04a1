import { Connection } from "rabbitmq-client"
import { promiseWindow } from "./promiseWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** rabbitmq-client's publisher. */
export const contender: Contender = {
  async open(load) {
    const connection = new Connection({ url: load.url, noDelay: true })
    connection.on("error", () => {})
    const publisher = connection.createPublisher({ confirm: true })
    await connection.onConnect()
    const body = bodyOf(load)
    const envelope = { routingKey: load.queue, durable: true, mandatory: true }
    return {
      publish: (count, timeline) => promiseWindow(count, load.inFlight, () => publisher.send(envelope, body), timeline),
      async close() {
        await publisher.close()
        await connection.close()
      }
    }
  }
}
