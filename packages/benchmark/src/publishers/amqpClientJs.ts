import { AMQPClient } from "@cloudamqp/amqp-client"
import { promiseWindow } from "./promiseWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** A confirm channel of CloudAMQP's client. */
export const contender: Contender = {
  async open(load) {
    const client = new AMQPClient(load.url)
    const connection = await client.connect()
    client.socket?.setNoDelay(true)
    const channel = await connection.channel()
    await channel.confirmSelect()
    const body = bodyOf(load)
    const properties = { deliveryMode: 2 }
    return {
      publish: (count, timeline) =>
        promiseWindow(
          count,
          load.inFlight,
          () => channel.basicPublish("", load.queue, body, properties, true),
          timeline
        ),
      close: () => connection.close()
    }
  }
}
