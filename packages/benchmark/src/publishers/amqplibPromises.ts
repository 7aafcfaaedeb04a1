import { openAmqplibChannel } from "./amqplibChannel.ts"
import { promiseWindow } from "./promiseWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** amqplib with a promise around each publish. */
export const contender: Contender = {
  async open(load) {
    const { channel, close } = await openAmqplibChannel(load.url)
    const body = bodyOf(load)
    const options = { persistent: true, mandatory: true }
    const publish = () =>
      new Promise<void>((resolve, reject) => {
        channel.publish("", load.queue, body, options, (error: unknown) => error ? reject(error) : resolve())
      })
    return {
      publish: (count, timeline) => promiseWindow(count, load.inFlight, publish, timeline),
      close
    }
  }
}
